"""Images or recordings of a folder as rows: one for each file, with its class folder or with the columns of metadata files.

The first folder below the split is the class, deeper ones are groups (a patient, a video) in the column `folder`. Where
files metadata.csv, metadata.jsonl or metadata.parquet lie in the folder, their columns are taken instead.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import pyarrow as pa
from datasets import Dataset, DatasetDict, DatasetInfo, NamedSplit

from hfssl.data.folder_files import files_below
from hfssl.data.folder_splits import SplitFiles, files_of_splits
from hfssl.data.reading import Opened
from hfssl.data.tables import read_tables
from hfssl.errors import require

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
FILE_NAME = "file_name"
LISTED = "is_listed"  # column that says which files a metadata file lists
_LABEL, _FOLDER = "label", "folder"
_STORED = pa.struct({"bytes": pa.binary(), "path": pa.string()})
_NAMED = 5


def open_folder(path: Path, column: str, feature: datasets.Image | datasets.Audio, suffixes: frozenset[str]) -> Opened:
    """The rows of each split of a folder, their files undecoded in `column`. Raises ConfigError."""
    found = files_of_splits(path, suffixes, column, names_say=False, aside=METADATA)
    tables = sorted(file for file in files_below(path) if file.name in METADATA)
    columns = _Metadata.of(tables) if tables else _ClassFolders.of(found)
    splits = {}
    for split, files in found.splits.items():
        further, features = columns.of_files(split, files)
        stored = pa.array([{"bytes": None, "path": str(file)} for file in files], _STORED)
        info = DatasetInfo(features=datasets.Features({column: feature, **features}))
        table = pa.table({column: stored, **further})
        splits[split] = Dataset(table, info, NamedSplit(split), fingerprint=_fingerprint(files, table))
    return Opened(DatasetDict(splits), found.reading.and_also(*columns.lines(found)))


def _fingerprint(files: Sequence[Path], table: pa.Table) -> str:
    """A name of these files as they are now: size and time of change tell a file that was written again."""
    state = hashlib.sha256(table.schema.to_string().encode())
    for name in table.column_names[1:]:
        state.update(str(table[name].to_pylist()).encode())
    for file in files:
        now = file.stat()
        state.update(f"{file} {now.st_size} {now.st_mtime_ns}\n".encode())
    return state.hexdigest()[:16]


@dataclass(frozen=True)
class _ClassFolders:
    """roots: folder of each split; classes: of all splits; is_deep: whether folders lie below those of classes."""

    roots: dict[str, Path]
    classes: list[str]
    is_deep: bool
    num_outside: int

    @classmethod
    def of(cls, found: SplitFiles) -> "_ClassFolders":
        parents = [
            file.relative_to(found.roots[split]).parts[:-1] for split, files in found.splits.items() for file in files
        ]
        classes = sorted({parts[0] for parts in parents if parts})
        return cls(found.roots, classes, any(len(parts) > 1 for parts in parents), sum(not parts for parts in parents))

    @property
    def tell_classes(self) -> bool:
        return len(self.classes) > 1 and not self.num_outside

    def of_files(self, split: str, files: Sequence[Path]) -> tuple[dict[str, pa.Array], dict[str, object]]:
        """Columns and their features."""
        parents = [file.relative_to(self.roots[split]).parts[:-1] for file in files]
        columns: dict[str, pa.Array] = {}
        features: dict[str, object] = {}
        if self.tell_classes:
            numbers = {name: number for number, name in enumerate(self.classes)}
            columns[_LABEL] = pa.array([numbers[parts[0]] for parts in parents], pa.int64())
            features[_LABEL] = datasets.ClassLabel(names=self.classes)
        if self.is_deep:
            columns[_FOLDER] = pa.array(["/".join(parts) for parts in parents], pa.string())
            features[_FOLDER] = datasets.Value("string")
        return columns, features

    def lines(self, found: SplitFiles) -> list[str]:
        named = ", ".join(self.classes[:_NAMED]) + (", ..." if len(self.classes) > _NAMED else "")
        deep = "; deeper folders are in the column folder (--group_column folder)" if self.is_deep else ""
        if self.tell_classes:
            return [f"labels      {len(self.classes)} classes, the first folder of each file ({named}){deep}"]
        if not self.classes:
            return []
        total = sum(len(files) for files in found.splits.values())
        why = (
            f"{self.num_outside} of {total} files lie in no class folder" if self.num_outside else "there is one folder"
        )
        return [f"labels      none: {why} ({named}){deep}"]


@dataclass(frozen=True)
class _Metadata:
    """rows: of all metadata files; places: file -> its row."""

    tables: list[Path]
    rows: Dataset
    places: dict[Path, int]

    @classmethod
    def of(cls, tables: list[Path]) -> "_Metadata":
        parts = [read_tables([table]) for table in tables]
        rows = datasets.concatenate_datasets(parts)
        name = next((name for name in rows.features if name == FILE_NAME or name.endswith(f"_{FILE_NAME}")), None)
        require(
            name is not None,
            f"{tables[0]} has no column {FILE_NAME}, which names the files; it has: {', '.join(rows.features)}",
        )
        folders = [table.parent for table, part in zip(tables, parts, strict=True) for _ in range(len(part))]
        names = rows.with_format("arrow")[:][name].to_pylist()
        places = {
            folder / str(own): place
            for place, (folder, own) in enumerate(zip(folders, names, strict=True))
            if own is not None
        }
        return cls(tables, rows.rename_column(name, FILE_NAME) if name != FILE_NAME else rows, places)

    def of_files(self, split: str, files: Sequence[Path]) -> tuple[dict[str, pa.Array], dict[str, object]]:
        """Columns and their features; missing values for files that are not listed."""
        places = pa.array([self.places.get(file) for file in files], pa.int64())
        chosen = self.rows.with_format("arrow")[:].take(places)
        columns = {name: chosen[name] for name in self.rows.features if name != FILE_NAME}
        features = {name: feature for name, feature in self.rows.features.items() if name != FILE_NAME}
        return columns | {LISTED: places.is_valid()}, features | {LISTED: datasets.Value("bool")}

    def lines(self, found: SplitFiles) -> list[str]:
        files = {file for files in found.splits.values() for file in files}
        listed = len(files & self.places.keys())
        said = f"metadata    {', '.join(table.name for table in self.tables[:_NAMED])}: {listed} of {len(files)} files are listed"
        missing = [place for place in self.places if place not in files]
        if missing:
            said += f"; {len(missing)} rows name files that are not there ({missing[0].name})"
        return [said]
