"""MoCo v2 (He et al. 2020, Chen et al. 2020): a view finds its image's key among the keys of earlier batches."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Self

from hfssl.config.fields import option
from hfssl.errors import require
from hfssl.methods.joint_embedding_settings import JointEmbeddingConfig, check_momentum, check_positive, check_queue


@dataclass(frozen=True, kw_only=True)
class MoCoConfig(JointEmbeddingConfig):
    recipe: ClassVar[str] = "moco"
    loss_unit: ClassVar[str] = "nats per query"

    temperature: float = option(0.2, "of the cosines")
    queue_size: int = option(
        65536, "keys of earlier batches that serve as negatives; a multiple of the global batch", basic=True
    )
    teacher_momentum: float = option(0.999, "share of the key encoder that stays at a step")
    batch_norm_splits: int | None = option(
        None, "parts of the batch with BatchNorm statistics of their own (default: 8, or none without BatchNorms)"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("temperature", self.temperature)
        check_positive("queue_size", self.queue_size)
        check_momentum("teacher_momentum", self.teacher_momentum)
        splits = self.batch_norm_splits
        require(splits is None or splits > 0, f"batch_norm_splits must be above 0, got {splits}")

    def check_batch(self, global_batch_size: int) -> None:
        check_queue(self.queue_size, global_batch_size)

    @classmethod
    def tiny(cls) -> Self:
        return dataclasses.replace(super().tiny(), queue_size=32)
