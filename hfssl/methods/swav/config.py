"""SwAV (Caron et al. 2020): views of an image predict each other's cluster; clusters are used equally."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Self

from hfssl.config.fields import option
from hfssl.errors import require
from hfssl.methods.joint_embedding_settings import MultiCropEmbeddingConfig, check_positive, check_queue, check_share


@dataclass(frozen=True, kw_only=True)
class SwAVConfig(MultiCropEmbeddingConfig):
    recipe: ClassVar[str] = "swav"
    loss_unit: ClassVar[str] = "nats per pair of crops"

    num_prototypes: int = option(3000, "clusters", basic=True)
    temperature: float = option(0.1, "of the cosines with the prototypes")
    sinkhorn_epsilon: float = option(0.05, "smoothness of the codes: larger is smoother")
    sinkhorn_iterations: int = option(3, "normalisations of the codes over samples and prototypes")
    queue_size: int = option(0, "earlier projections that help to find balanced codes in small batches; 0: none")
    queue_start_fraction: float = option(0.15, "share of the run before the queue is used")
    freeze_prototypes_fraction: float = option(0.0025, "share of the run in which the prototypes stay as they are")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("num_prototypes", "temperature", "sinkhorn_epsilon", "sinkhorn_iterations"):
            check_positive(name, getattr(self, name))
        for name in ("queue_start_fraction", "freeze_prototypes_fraction"):
            check_share(name, getattr(self, name))
        require(self.queue_size >= 0, f"queue_size must be at least 0, got {self.queue_size}")

    def check_batch(self, global_batch_size: int) -> None:
        check_queue(self.queue_size, global_batch_size)

    @classmethod
    def tiny(cls) -> Self:
        small = dataclasses.replace(super().tiny(), num_local_crops=2, local_crop_size=4, num_prototypes=12)
        return dataclasses.replace(small, queue_size=16, queue_start_fraction=0.3)
