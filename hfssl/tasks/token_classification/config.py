"""Fine-tuning a language model to find entities: a tag for each word of a sentence."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from hfssl.config.fields import option
from hfssl.config.sections import DataConfig
from hfssl.data.texts.config import TextDataConfig
from hfssl.tasks.columns import Columns
from hfssl.tasks.task_config import Adaptation
from hfssl.tasks.text_settings import TextTaskConfig

if TYPE_CHECKING:
    from hfssl.data.source import Source


@dataclass(frozen=True, kw_only=True)
class TokenClassificationConfig(TextTaskConfig):
    recipe: ClassVar[str] = "token_classification"
    loss_unit: ClassVar[str] = "nats per word"
    splits_by_class: ClassVar[bool] = False

    adaptation: Adaptation = option(  # noqa: RUF009
        "full",
        "full: every weight; frozen: only the head, on the body's outputs, computed each time since sentences are of all "
        "lengths; lora: adapters and the head",
    )

    @classmethod
    def fits(cls, columns: Columns) -> bool:
        return columns.holds == "words"

    @property
    def output_type(self) -> Literal["classes", "numbers", "tags", "spans", "transcripts"]:
        return "tags"

    def open_rows(self, data: DataConfig, open_samples: "Callable[[DataConfig], Source]") -> "Source":
        from hfssl.data.texts.tagged_words import open_tagged_words  # torch

        assert isinstance(data, TextDataConfig)
        return open_tagged_words(data, self)

    @classmethod
    def tiny(cls) -> Self:
        return cls()
