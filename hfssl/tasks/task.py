"""What a downstream task adds to the protocol of `objective.py`: a stock model with a head, and answers that can be scored.

B samples, C classes, T tokens or frames.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Generic

from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.auto.auto_factory import _BaseAutoModelClass
from typing_extensions import TypeVar

from hfssl.data.source import Source
from hfssl.objective import Batch, Objective, Pipeline
from hfssl.tasks.task_config import TaskConfig

TaskSettings = TypeVar("TaskSettings", bound=TaskConfig, default=Any)


class Task(Objective[TaskSettings, Pipeline], Generic[TaskSettings, Pipeline]):
    """A downstream task, fine-tuned on the loop that pretrains.

    model: the stock model with its head, what `auto_class` opens; it may carry adapters.
    """

    auto_class: ClassVar[type[_BaseAutoModelClass]]
    model: PreTrainedModel

    @classmethod
    def with_rows(cls, config: TaskSettings, source: Source) -> TaskSettings:
        """`config` with what the labelled training rows tell, but for the names of classes, which are found for every task.

        Raises:
            ConfigError: the rows are nothing for this task.
        """
        return config

    @classmethod
    @abstractmethod
    def check_rows(cls, config: TaskSettings, source: Source) -> list[str]:
        """What to know of labelled rows before anything is trained, in sentences; they may be those to train on, to choose by or
        to score, and `config` is what the former tell.

        Raises:
            ConfigError: labels are missing, or those to train on do not have them.
        """

    @abstractmethod
    def predictions(self, batch: Batch) -> Sequence[object]:
        """For each sample of a batch of `eval_transform`, the prediction and the truth, as the
        module of its kind in `scoring/` takes it; on the host. Called in eval mode without gradient."""

    def features(self, batch: Batch) -> Tensor:
        """Logits, (B, C) or (B, T, C)."""
        logits: Tensor = self.logits(batch)
        return logits

    @abstractmethod
    def logits(self, batch: Batch) -> Tensor:
        """(B, C) or (B, T, C) float32, as the exported model gives them in eval mode."""

    def enable_gradient_checkpointing(self) -> None:
        self.model.gradient_checkpointing_enable()
