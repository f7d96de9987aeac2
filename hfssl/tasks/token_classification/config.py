"""Fine-tuning a language model to find entities: a tag for each word of a sentence."""

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from hfssl.config.fields import option
from hfssl.tasks.task_config import Adaptation
from hfssl.tasks.text_settings import TextTaskConfig


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

    @property
    def output_type(self) -> Literal["classes", "numbers", "tags", "spans", "transcripts"]:
        return "tags"

    @classmethod
    def tiny(cls) -> Self:
        return cls()
