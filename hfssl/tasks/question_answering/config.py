"""Fine-tuning a language model to answer questions by a span of a text."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from hfssl.config.fields import option
from hfssl.config.sections import DataConfig
from hfssl.data.texts.config import TextDataConfig
from hfssl.errors import require
from hfssl.tasks.columns import Columns
from hfssl.tasks.task_config import Adaptation
from hfssl.tasks.text_settings import TextTaskConfig

if TYPE_CHECKING:
    from hfssl.data.source import Source

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@dataclass(frozen=True, kw_only=True)
class QuestionAnsweringConfig(TextTaskConfig):
    recipe: ClassVar[str] = "question_answering"
    loss_unit: ClassVar[str] = "nats per window"
    splits_by_class: ClassVar[bool] = False

    adaptation: Adaptation = option(  # noqa: RUF009
        "full",
        "full: every weight; frozen: only the head, on the body's outputs, computed each time since texts are of all "
        "lengths; lora: adapters and the head",
    )
    question_column: str = option("question", "column of the questions")
    doc_stride: int = option(64, "tokens of a long text that neighbouring windows share")
    max_answer_length: int = option(30, "tokens of an answer at the most")
    unanswerable: bool | None = option(None, "questions may have no answer (default: as in the training rows)")

    @classmethod
    def fits(cls, columns: Columns) -> bool:
        return columns.holds == "questions"

    @property
    def output_type(self) -> Literal["classes", "numbers", "tags", "spans", "transcripts"]:
        return "spans"

    @property
    def further_texts(self) -> tuple[str, ...]:
        return (self.question_column,)

    def __post_init__(self) -> None:
        super().__post_init__()
        given = {
            "class_weights": self.class_weights != "none",
            "class_names": self.class_names is not None,
            "label_smoothing": self.label_smoothing > 0,
        }
        for name, is_given in given.items():
            require(not is_given, f"{name} has no effect where answers are spans, not classes: leave it out")
        require(self.doc_stride >= 0, f"doc_stride must be at least 0, got {self.doc_stride}")
        require(self.max_answer_length > 0, f"max_answer_length must be above 0, got {self.max_answer_length}")

    def adopt(
        self, data: TextDataConfig, model_config: "PretrainedConfig", given: frozenset[str]
    ) -> tuple[Self, TextDataConfig]:
        _, adopted = super().adopt(data, model_config, given)
        most = adopted.max_length // 4
        require(
            self.doc_stride <= most,
            f"doc_stride {self.doc_stride} is more than a quarter of the {adopted.max_length} tokens of a window: set "
            f"--doc_stride {most}, or a larger --max_length",
        )
        return self, adopted

    def open_rows(self, data: DataConfig, open_samples: "Callable[[DataConfig], Source]") -> "Source":
        from hfssl.data.texts.questions import open_questions  # torch

        assert isinstance(data, TextDataConfig)
        return open_questions(data, self)

    @classmethod
    def tiny(cls) -> Self:
        return cls(doc_stride=4)
