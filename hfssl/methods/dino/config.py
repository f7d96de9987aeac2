"""DINO (Caron et al. 2021): a student learns the output of its own moving average on other crops; no labels, no negatives."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Self

from hfssl.config.fields import option
from hfssl.methods.joint_embedding_settings import (
    MultiCropEmbeddingConfig,
    check_momentum,
    check_positive,
    check_share,
)


@dataclass(frozen=True, kw_only=True)
class DINOConfig(MultiCropEmbeddingConfig):
    recipe: ClassVar[str] = "dino"
    loss_unit: ClassVar[str] = "nats per pair of crops"
    asymmetric: ClassVar[bool] = True

    projection_size: int = option(256, "width of the head's bottleneck")
    num_prototypes: int = option(65536, "outputs of the head")
    head_batch_norm: bool = option(
        False, "BatchNorm in the head: keeps short runs on few images from settling at uniform targets"
    )
    student_temperature: float = option(0.1, "sharpens the student's output")
    initial_teacher_temperature: float = option(0.04, "sharpens the teacher's output, at the start")
    teacher_temperature: float = option(
        0.04, "sharpens the teacher's output, after the warm-up; up to 0.07 on ViTs", basic=True
    )
    teacher_temperature_warmup_fraction: float = option(0.0, "share of the run in which that temperature rises")
    teacher_momentum: float = option(0.996, "share of the teacher that stays at a step; rises to 1 along a cosine")
    centre_momentum: float = option(0.9, "share of the centre that stays at a step; 1: the outputs are not centred")
    freeze_last_layer_fraction: float = option(0.01, "share of the run in which the head's last layer stays as it is")

    def __post_init__(self) -> None:
        super().__post_init__()
        names = ("num_prototypes", "student_temperature", "initial_teacher_temperature", "teacher_temperature")
        for name in names:
            check_positive(name, getattr(self, name))
        for name in ("teacher_temperature_warmup_fraction", "freeze_last_layer_fraction"):
            check_share(name, getattr(self, name))
        for name in ("teacher_momentum", "centre_momentum"):
            check_momentum(name, getattr(self, name))

    @classmethod
    def tiny(cls) -> Self:
        small = dataclasses.replace(super().tiny(), num_local_crops=2, local_crop_size=4, num_prototypes=12)
        return dataclasses.replace(small, freeze_last_layer_fraction=0.0)
