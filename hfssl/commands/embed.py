"""Embed all images of a split: a Parquet file of features, nearest rows and outlier scores, and a sheet to look at.

What the columns mean stands in docs/guides/embedding.md.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import datasets
import numpy as np
import torch
from torch import Tensor

from hfssl.checkpoints.locate import config_of, find_checkpoint, public_name
from hfssl.commands.embed_config import EmbedConfig
from hfssl.console import quieten_libraries
from hfssl.data.file_names import file_names
from hfssl.data.folder_files import files_below, has_suffix
from hfssl.data.images.cache import DecodedImages
from hfssl.data.images.config import IMAGE_SUFFIXES
from hfssl.data.images.files import decode
from hfssl.data.images.source import open_images
from hfssl.data.source import Source
from hfssl.errors import require
from hfssl.evaluation.feature_file import write_features
from hfssl.evaluation.features import Encoder, feature_blocks, open_encoder
from hfssl.evaluation.neighbours import Nearest, nearest_rows, nearest_to, outlier_scores
from hfssl.figures.image_sheet import SheetCell, image_sheet, nearest_lines, shrunk
from hfssl.objective import Array, Examples
from hfssl.run_dir import Json
from hfssl.training.start import versions

NEIGHBOURS_OF_SCORE = 10
_SHOWN = 6
Line = tuple[str, list[SheetCell]]
_NAMED = 10
_STRANGEST_LINES = 3
_LONGEST_CAPTION = 20


class Embedded(NamedTuple):
    """rows: (N,) numbers of the images that could be decoded; names: what each is called; features_ND: float32."""

    rows: Array
    names: list[str]
    features_ND: Array


class QueryFiles:
    """Image files that the user asks about, decoded whenever they are asked for."""

    def __init__(self, path: Path, num_channels: int) -> None:
        files = [path] if path.is_file() else sorted(files_below(path))
        self.files = [file for file in files if has_suffix(file, IMAGE_SUFFIXES)]
        self._num_channels = num_channels
        require(bool(self.files), f"--query {path} holds no image")

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        return decode({"bytes": None, "path": str(self.files[index])}, self._num_channels)


def embed(config: EmbedConfig) -> Path:
    """Write the Parquet file and the sheet, and print what was asked for; returns the file.

    Raises:
        ConfigError: the checkpoint or the data do not allow it.
    """
    quieten_libraries()
    if config.cpu_threads is not None:
        torch.set_num_threads(config.cpu_threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    checkpoint = find_checkpoint(str(config.model))
    config_of(checkpoint)
    encoder = open_encoder(checkpoint.location, device)
    source = open_images(config.image_data(encoder.num_channels))
    _check_counts(config, len(source))
    queries = None if config.query is None else QueryFiles(Path(config.query).expanduser(), encoder.num_channels)
    images, paths = DecodedImages(source, encoder.num_channels), file_names(source)
    embedded = embedded_images(encoder, images, paths, config.batch_size)
    _check_counts(config, len(embedded.rows))
    columns = _own_columns(source, embedded, paths) | _searched(embedded, config, device)
    lines = _sheet_lines(encoder, images, embedded, queries, config)
    if config.outliers is not None:
        lines += _strangest_lines(images, embedded, columns["outlier_score"], config.outliers)
    output = Path(config.output)
    image_sheet(output.with_suffix(".png"), lines)
    facts = {"model": checkpoint.name, "pooling": encoder.pooling} | _facts(source, embedded, config)
    write_features(output, columns, facts)
    print(f"{len(embedded.rows)} rows of {embedded.features_ND.shape[1]} features written to {output}")
    print(f"sheet of images: {output.with_suffix('.png')}")
    return output


def _check_counts(config: EmbedConfig, num_rows: int) -> None:
    """Asked of all rows before the work, and of those that could be decoded after it."""
    num_neighbours = _num_neighbours(config)
    require(
        num_neighbours < num_rows,
        f"{num_neighbours} neighbours need more than {num_neighbours} rows that can be decoded, there are {num_rows}: "
        "lower --neighbours",
    )
    require(
        config.outliers is None or config.outliers <= num_rows,
        f"--outliers {config.outliers} is more than the {num_rows} rows that can be decoded",
    )


def _num_neighbours(config: EmbedConfig) -> int:
    """Of each row; 0 where nothing asks for them."""
    if config.neighbours is not None:
        return config.neighbours
    return 0 if config.outliers is None else NEIGHBOURS_OF_SCORE


def embedded_images(encoder: Encoder, images: Examples, paths: Sequence[str | None], batch_size: int) -> Embedded:
    """Features of the images that can be decoded; the others are named and counted on the screen.

    Raises:
        ConfigError: there is none.
    """
    rows: list[int] = []
    bad: dict[int, str] = {}
    features_ND = np.zeros((0, 0), dtype=np.float32)
    for block in feature_blocks(encoder, images, batch_size):
        if len(block.rows) and not len(features_ND):
            features_ND = np.empty((len(images), block.features_BD.shape[1]), dtype=np.float32)
        features_ND[len(rows) : len(rows) + len(block.rows)] = block.features_BD.numpy()
        rows += block.rows
        bad |= block.bad
        if len(images) > len(rows) + len(bad):
            print(f"{len(rows) + len(bad)} of {len(images)} images embedded", flush=True)
    for row, reason in list(bad.items())[:_NAMED]:
        print(f"left out: {_name(row, paths[row])} {reason}")
    if bad:
        print(f"{len(bad)} of {len(images)} images cannot be decoded and were left out")
    require(bool(rows), f"none of the {len(images)} images can be decoded")
    return Embedded(np.asarray(rows), [_name(row, paths[row]) for row in rows], features_ND[: len(rows)])


def _name(row: int, path: str | None) -> str:
    return f"row {row}" if path is None else f"row {row} {path}"


def _own_columns(source: Source, embedded: Embedded, paths: Sequence[str | None]) -> Json:
    columns: Json = {"row": embedded.rows}
    if any(paths):
        columns["path"] = [paths[row] for row in embedded.rows]
    if source.label_column is not None:
        feature, values = source.rows.features[source.label_column], source.rows[source.label_column][:]
        labels = [values[row] for row in embedded.rows]
        if isinstance(feature, datasets.ClassLabel):
            labels = [None if label is None or label < 0 else feature.int2str(label) for label in labels]
        columns["label"] = labels
    return columns | {"features": embedded.features_ND}


def _facts(source: Source, embedded: Embedded, config: EmbedConfig) -> Json:
    facts: Json = {"data": public_name(source.name), "split": source.split}
    facts["rows_left_out"] = len(source) - len(embedded.rows)
    if config.outliers is not None:
        facts["outlier_score"] = f"mean cosine distance to the {_num_neighbours(config)} nearest other rows"
    return facts | {"versions": versions()}


def _searched(embedded: Embedded, config: EmbedConfig, device: torch.device) -> Json:
    """The columns that neighbours give, as far as they are asked for."""
    columns: Json = {}
    if _num_neighbours(config):
        found = nearest_rows(embedded.features_ND, _num_neighbours(config), device)
        similarities_NK = found.similarities_MK.numpy()
        if config.neighbours is not None:
            columns |= {"neighbours": embedded.rows[found.rows_MK.numpy()], "similarities": similarities_NK}
        if config.outliers is not None:
            columns["outlier_score"] = outlier_scores(similarities_NK)
    return columns


def _sheet_lines(
    encoder: Encoder, images: Examples, embedded: Embedded, asked: QueryFiles | None, config: EmbedConfig
) -> list[Line]:
    """What each query looks like: the user's files, printed too, else a few rows from all over the split."""
    device = next(encoder.model.parameters()).device
    if asked is None:
        of = np.unique(np.linspace(0, len(embedded.rows) - 1, _SHOWN, dtype=int)).tolist()
        found = nearest_rows(embedded.features_ND, min(_SHOWN, len(embedded.rows) - 1), device, of=of)
        queries = [_cell(images, embedded, row, "", framed=True) for row in of]
        return _lines(queries, found, images, embedded)
    queried = embedded_images(encoder, asked, [file.name for file in asked.files], config.batch_size)
    num = min(config.neighbours or _SHOWN, len(embedded.rows))
    found = nearest_to(queried.features_ND, embedded.features_ND, num, device)
    for file, rows, similarities in zip(queried.rows.tolist(), *found, strict=True):
        print(f"nearest to {asked.files[file].name}:")
        for row, similarity in zip(rows.tolist(), similarities.tolist(), strict=True):
            print(f"  {similarity:.3f}  {embedded.names[row]}")
    queries = [
        SheetCell(shrunk(asked[file]), asked.files[file].name[-_LONGEST_CAPTION:], framed=True)
        for file in queried.rows[:_SHOWN].tolist()
    ]
    return _lines(queries, found, images, embedded)


def _lines(queries: Sequence[SheetCell], found: Nearest, images: Examples, embedded: Embedded) -> list[Line]:
    return nearest_lines(
        queries,
        found.rows_MK[:, :_SHOWN],
        found.similarities_MK[:, :_SHOWN],
        lambda row, similarity: _cell(images, embedded, row, similarity),
    )


def _strangest_lines(images: Examples, embedded: Embedded, scores_N: Array, num: int) -> list[Line]:
    order = np.argsort(-scores_N, kind="stable")[:num].tolist()
    print(f"the {num} strangest rows, by their mean cosine distance to the nearest others:")
    for row in order:
        print(f"  {scores_N[row]:.3f}  {embedded.names[row]}")
    width = _SHOWN + 1
    drawn = [_cell(images, embedded, row, f"{scores_N[row]:.3f}") for row in order[: _STRANGEST_LINES * width]]
    return [("strangest", drawn[start : start + width]) for start in range(0, len(drawn), width)]


def _cell(images: Examples, embedded: Embedded, row: int, figure: str, framed: bool = False) -> SheetCell:
    number = int(embedded.rows[row])
    return SheetCell(shrunk(images[number]), f"row {number}  {figure}".rstrip(), framed)
