"""Text data: where the texts are, which tokenizer reads them and how they fill rows."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

from hfssl.config.fields import option
from hfssl.config.sections import DataConfig
from hfssl.data.folder_files import folder_files, has_suffix
from hfssl.data.location_check import SAVED_SET_FILES, TABLE_SUFFIXES, check_location
from hfssl.errors import ConfigError, require

TEXT_SUFFIXES = frozenset([".txt", ".md", ".text"])
DEMO_SETS = ("pydocs",)
DEFAULT_VOCAB_SIZE = 16_000
_LEAST_VOCAB_SIZE = 300  # byte-level BPE needs 256 bytes and its special tokens
_LEAST_LENGTH = 8
_ABOUT_THE_DATA = ("readme", "license", "licence", "copying", "notice", "citation", "changelog")  # next to tables

TokenizerKind = Literal["wordpiece", "bpe", "unigram"]


@dataclass(frozen=True, kw_only=True)
class TextDataConfig(DataConfig):
    samples: ClassVar[str] = "texts"
    suffixes: ClassVar[frozenset[str]] = TEXT_SUFFIXES
    keeps_processor: ClassVar[bool] = True

    text_column: str | None = option(None, "column of the texts (default: the only one of strings)")
    label_column: str | None = option(
        None, "column of the labels (default: the only one of classes)", "own_rule", basic=True
    )
    text_unit: Literal["document", "paragraph", "line"] = option("document", "what a plain text file is cut into")
    invalid_utf8: Literal["error", "replace"] = option("error", "what to do where a text file is not UTF-8")
    tokenizer: str | None = option(None, "tokenizer to take (Hub id or path)", basic=True)
    train_tokenizer: Literal["wordpiece", "bpe", "unigram"] | None = option(
        None, "kind of tokenizer to train on the training rows"
    )
    vocab_size: int | None = option(None, f"tokens of a trained tokenizer (default: {DEFAULT_VOCAB_SIZE})")
    lowercase: bool = option(False, "a trained tokenizer reads everything in lower case")
    max_length: int = option(128, "tokens of a row, special ones included", basic=True)
    no_packing: bool = option(False, "one document per row, padded, instead of rows filled with several")

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.tokenizer is None or self.train_tokenizer is None,
            "tokenizer and train_tokenizer exclude each other: leave one out, or write --train_tokenizer none",
        )
        for name, given in {"vocab_size": self.vocab_size is not None, "lowercase": self.lowercase}.items():
            require(
                not given or self.train_tokenizer is not None,
                f"{name} has no effect: it is for a trained tokenizer; set train_tokenizer or leave {name} out",
            )
        require(
            self.vocab_size is None or self.vocab_size >= _LEAST_VOCAB_SIZE,
            f"vocab_size must be at least {_LEAST_VOCAB_SIZE}, got {self.vocab_size}",
        )
        require(self.max_length >= _LEAST_LENGTH, f"max_length must be at least {_LEAST_LENGTH}, got {self.max_length}")

    def with_processor(self, folder: str) -> Self:
        return self._with_tokenizer(folder)

    def adopt_processor(self, processor: str, given: frozenset[str]) -> Self:
        """The tokenizer of the checkpoint to continue from, unless another one was asked for."""
        return self if {"tokenizer", "train_tokenizer"} & given else self._with_tokenizer(processor)

    def _with_tokenizer(self, place: str) -> Self:
        return dataclasses.replace(self, tokenizer=place, train_tokenizer=None, vocab_size=None, lowercase=False)

    @property
    def trained_vocab_size(self) -> int:
        """Tokens that a tokenizer trained for this data has at the most."""
        return DEFAULT_VOCAB_SIZE if self.vocab_size is None else self.vocab_size

    @property
    def rows_are(self) -> str:
        return "rows" if self.no_packing else f"rows of {self.max_length} tokens, packed from texts"

    def check(self) -> None:
        if self.dataset is None:
            return
        check_location(
            self.dataset,
            demo_sets=DEMO_SETS,
            samples=self.samples,
            suffixes=self.suffixes,
            one_file=TEXT_SUFFIXES | TABLE_SUFFIXES,
        )
        if reads_text_files(self.dataset):
            require(
                self.text_column is None, "text_column has no effect: plain text files have no columns; leave it out"
            )
            return
        for name, changed in {
            "text_unit": self.text_unit != "document",
            "invalid_utf8": self.invalid_utf8 != "error",
        }.items():
            require(not changed, f"{name} has no effect: {self.dataset} is not read as plain text files; leave it out")

    @classmethod
    def tiny(cls) -> Self:
        return cls(
            dataset="demo:pydocs",
            text_column="text",
            train_tokenizer="wordpiece",
            vocab_size=_LEAST_VOCAB_SIZE,
            max_length=32,
            num_workers=0,
        )


def reads_text_files(dataset: str) -> bool:
    """Whether `dataset` is a text file or a folder of them, not tables, a saved set, a demo set or a Hub id.

    Raises:
        ConfigError: the folder holds text files and tables, more than a README or licence with them.
    """
    path = Path(dataset).expanduser()
    if not path.is_dir():
        return path.is_file() and has_suffix(path, TEXT_SUFFIXES)
    if any((path / name).is_file() for name in SAVED_SET_FILES):
        return False
    texts, others = folder_files(path, TEXT_SUFFIXES)
    texts = [file for file in texts if not _is_about_the_data(file)]
    tables = [file for file in others if has_suffix(file, TABLE_SUFFIXES)]
    if not texts or not tables:
        return not tables
    both = f"{texts[0].relative_to(path)}, {tables[0].relative_to(path)}"
    raise ConfigError(f"--dataset {path} holds text files and tables ({both}): name a file, or a folder of one kind")


def _is_about_the_data(file: Path) -> bool:
    return file.stem.lower() in _ABOUT_THE_DATA
