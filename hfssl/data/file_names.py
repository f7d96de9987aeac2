"""What the images and recordings of a data set are called: file names below its folder, without where that folder lies."""

from pathlib import Path

import datasets
import pyarrow.compute

from hfssl.data.source import Source

_BLOCK = 8192


def file_names(source: Source) -> list[str | None]:
    """The file name of each row; None where the data has none."""
    if not isinstance(source.rows.features[source.column], (datasets.Image, datasets.Audio)):
        return [None] * len(source)
    root = Path(source.name).expanduser().resolve()
    root = root if root.is_dir() else root.parent
    tables = source.rows.with_format("arrow")
    names: list[str | None] = []
    for start in range(0, len(source), _BLOCK):
        paths = pyarrow.compute.struct_field(tables[start : start + _BLOCK][source.column], "path")
        names += [_below(path, root) for path in paths.to_pylist()]
    return names


def _below(path: str | None, root: Path) -> str | None:
    if not path:
        return None
    file = Path(path)
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
