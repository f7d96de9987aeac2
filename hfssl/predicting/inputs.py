"""Rows to predict: the files of a folder, the lines of a text file, columns of a table, all read as they are needed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from hfssl.data.audio.config import AUDIO_SUFFIXES
from hfssl.data.folder_files import folder_files
from hfssl.data.images.config import IMAGE_SUFFIXES
from hfssl.data.texts.config import TEXT_SUFFIXES
from hfssl.data.unread_files import HOW_TO_CONVERT, not_read
from hfssl.errors import require
from hfssl.predicting.predict_config import PredictConfig
from hfssl.predicting.tables import AS_STORED, TABLE_SUFFIXES, cells, columns_of, is_table

Kind = Literal["images", "texts", "recordings", "sentences", "questions"]
SUFFIXES: dict[Kind, frozenset[str]] = {
    "images": IMAGE_SUFFIXES,
    "texts": TEXT_SUFFIXES,
    "recordings": AUDIO_SUFFIXES,
    "sentences": TEXT_SUFFIXES,
    "questions": TEXT_SUFFIXES,
}
_CONTEXT, _QUESTION = "context", "question"


class Row(NamedTuple):
    """name: what the output calls it; content: a text, a list of words, a question and its text, the {"bytes", "path"} of a
    file, or whatever stands in their place; error: why there is no content."""

    name: str | int
    content: Any
    error: str | None = None


@dataclass(frozen=True)
class Inputs:
    """Rows in their order, each time that they are asked for; total: how many, None where only reading them all would tell."""

    rows: Iterable[Row]
    total: int | None


@dataclass(frozen=True)
class Files:
    """Files under a folder, called by their names below it."""

    folder: Path
    files: list[Path]
    are_texts: bool

    def __iter__(self) -> Iterator[Row]:
        for file in self.files:
            name = printable(file.relative_to(self.folder).as_posix())
            if not self.are_texts:
                yield Row(name, {"bytes": None, "path": str(file)})
                continue
            try:
                yield Row(name, file.read_text(**AS_STORED))
            except OSError as error:
                yield Row(name, None, f"cannot be read: {error.strerror}")


@dataclass(frozen=True)
class Lines:
    """Lines of a text file, called by their numbers from 0."""

    path: Path

    def __iter__(self) -> Iterator[Row]:
        with self.path.open(**AS_STORED) as file:
            for number, line in enumerate(file):
                yield Row(number, line.rstrip("\n"))


@dataclass(frozen=True)
class Table:
    """Rows of a table, called by their numbers: the values of one column, tuples of several; or files, by their bytes or by paths
    relative to the table, which they are called by."""

    path: Path
    columns: tuple[str, ...]
    are_texts: bool

    def __iter__(self) -> Iterator[Row]:
        for number, (values, error) in enumerate(cells(self.path, self.columns)):
            if error is not None:
                yield Row(number, None, error)
            elif len(self.columns) > 1:
                yield Row(number, tuple(values))
            else:
                yield Row(number, values[0]) if self.are_texts else self._of_file(number, values[0])

    def _of_file(self, number: int, value: Any) -> Row:
        if isinstance(value, str) and value:
            return Row(printable(value), {"bytes": None, "path": str(self.path.parent / Path(value).expanduser())})
        if isinstance(value, dict) and value.get("bytes") is not None:
            return Row(printable(value.get("path") or str(number)), {"bytes": value["bytes"], "path": None})
        return Row(number, None, "the row holds no path")


@dataclass(frozen=True)
class Asked:
    """Texts, of each of which the same question is asked."""

    texts: Iterable[Row]
    question: str

    def __iter__(self) -> Iterator[Row]:
        for row in self.texts:
            yield row if row.error is not None else row._replace(content=(self.question, row.content))


def open_inputs(config: PredictConfig, kind: Kind) -> Inputs:
    """The rows that `--input` stands for.

    Raises:
        ConfigError: nothing of this kind is there, or it is not clear which column is meant.
    """
    path, column = config.input_path, config.column
    if kind == "questions":
        if config.question is None:
            return _open_questions(path, config.question_column or _QUESTION, column or _CONTEXT)
        texts = _open(path, column, "texts")
        return Inputs(Asked(texts.rows, config.question), texts.total)
    return _open(path, column, kind)


def _open(path: Path, column: str | None, kind: Kind) -> Inputs:
    suffixes, are_texts = SUFFIXES[kind], kind not in ("images", "recordings")
    shown = " ".join(sorted(suffixes))
    if path.is_file() and is_table(path):
        return _open_table(path, column, kind)
    require(column is None, f"--column has no effect: --input {path} is no table; leave it out")
    if path.is_dir():
        files, others = folder_files(path, frozenset(suffixes))
        require(
            bool(files), f"--input {path} holds no {kind} ({shown}), but {', '.join(not_read(others)) or 'nothing'}"
        )
        if not are_texts:  # each gets a row that says why it cannot be read
            files = sorted([*files, *(file for file in others if file.suffix.lower() in HOW_TO_CONVERT)])
        if others:
            print(f"files       {len(files)} {kind}; {', '.join(not_read(others))}")
        return Inputs(Files(path, files, are_texts), len(files))
    is_fit = path.suffix.lower() in suffixes
    require(
        is_fit,
        f"--input {path}: the model reads {kind} ({shown}), a folder of them, or tables ({' '.join(TABLE_SUFFIXES)})",
    )
    return Inputs(Lines(path), None) if are_texts else Inputs(Files(path.parent, [path], are_texts), 1)


def _open_table(path: Path, column: str | None, kind: Kind) -> Inputs:
    names, fitting, total = columns_of(path, lists=kind == "sentences")
    there = ", ".join(names)
    require(bool(names), f"--input {path} is empty")
    require(column is None or column in names, f"--column {column} is not in {path}; there are: {there}")
    require(
        kind != "recordings" or "offset" not in names,
        f"--input {path} has a column offset, which names parts of recordings: predictions read whole files, cut them first",
    )
    is_clear = column is not None or len(fitting) == 1
    require(
        is_clear, f"--input {path} has the columns {there}: name that of the {kind}, or of their paths, with --column"
    )
    return Inputs(Table(path, (column or fitting[0],), kind in ("texts", "sentences")), total)


def _open_questions(path: Path, question: str, context: str) -> Inputs:
    """A table with a column of questions and one of texts."""
    require(
        path.is_file() and is_table(path),
        f"--input {path} holds no questions: name a table ({' '.join(TABLE_SUFFIXES)}) with a column of them, or ask one of all "
        "texts with --question",
    )
    names, _, total = columns_of(path, lists=False)
    there = ", ".join(names)
    for flag, name in (("question_column", question), ("column", context)):
        require(name in names, f"--{flag} {name} is not in {path}; there are: {there}")
    return Inputs(Table(path, (question, context), are_texts=True), total)


def printable(text: str) -> str:
    """`text` as UTF-8 can hold it: file names may be any bytes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
