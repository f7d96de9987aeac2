"""BYOL (Grill et al. 2020): a student predicts a slowly moving teacher's projection of another view; no negatives."""

from dataclasses import dataclass
from typing import ClassVar

from hfssl.config.fields import option
from hfssl.errors import require
from hfssl.methods.joint_embedding_settings import JointEmbeddingConfig, check_momentum


@dataclass(frozen=True, kw_only=True)
class BYOLConfig(JointEmbeddingConfig):
    recipe: ClassVar[str] = "byol"
    loss_unit: ClassVar[str] = "2 - 2 cos of both views, per image"
    asymmetric: ClassVar[bool] = True

    projection_hidden_size: int = option(4096, "width of the projection head's hidden layer")
    projection_size: int = option(256, "width of the projections")
    prediction_hidden_size: int = option(4096, "width of the prediction head's hidden layer; 0: no prediction head")
    teacher_momentum: float = option(
        0.996, "share of the teacher that stays at a step; rises to 1 along a cosine", basic=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_momentum("teacher_momentum", self.teacher_momentum)
        require(
            self.prediction_hidden_size >= 0,
            f"prediction_hidden_size must be at least 0, got {self.prediction_hidden_size}",
        )
