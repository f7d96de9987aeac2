"""Fine-tuning a language model to tell classes of texts, or of pairs of texts, apart, or to say a number for each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from hfssl.config.fields import option
from hfssl.config.sections import DataConfig
from hfssl.data.texts.config import TextDataConfig
from hfssl.errors import require
from hfssl.tasks.columns import Columns
from hfssl.tasks.text_settings import TextTaskConfig

if TYPE_CHECKING:
    from hfssl.data.source import Source


@dataclass(frozen=True, kw_only=True)
class SequenceClassificationConfig(TextTaskConfig):
    recipe: ClassVar[str] = "sequence_classification"
    demo: ClassVar[str | None] = "demo:pydocs"
    loss_unit: ClassVar[str] = "per text"

    second_text_column: str | None = option(None, "column of the second text of a pair (default: one text per row)")
    problem: Literal["auto", "classes", "numbers"] = option(
        "auto", "what is said of a text: a class, or a number (regression); auto: a number where the labels are floats"
    )

    @classmethod
    def fits(cls, columns: Columns) -> bool:
        return columns.holds == "texts" and columns.has_classes

    @property
    def output_type(self) -> Literal["classes", "numbers", "tags", "spans", "transcripts"]:
        return "numbers" if self.problem == "numbers" else "classes"

    def check_numbers(self) -> None:
        """Raise ConfigError for settings that mean nothing where numbers are said."""
        given = {
            "label_smoothing": self.label_smoothing > 0,
            "class_weights": self.class_weights != "none",
            "class_names": self.class_names is not None,
        }
        for name, is_given in given.items():
            require(not is_given, f"{name} has no effect where numbers are to be said, not classes: leave it out")

    @property
    def further_texts(self) -> tuple[str, ...]:
        return () if self.second_text_column is None else (self.second_text_column,)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.problem == "numbers":
            self.check_numbers()

    def open_rows(self, data: DataConfig, open_samples: "Callable[[DataConfig], Source]") -> "Source":
        from hfssl.data.texts.labelled import open_labelled_texts  # torch

        assert isinstance(data, TextDataConfig)
        return open_labelled_texts(data, self)

    @classmethod
    def tiny(cls) -> Self:
        return cls()
