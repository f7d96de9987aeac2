"""Rotation prediction (Gidaris et al. 2018): by which quarter turn was the image rotated?"""

from dataclasses import dataclass
from typing import ClassVar

from hfssl.config import option
from hfssl.data.augmentation_config import AugmentationName
from hfssl.methods.vision_settings import VisionConfig


@dataclass(frozen=True, kw_only=True)
class RotationConfig(VisionConfig):
    recipe: ClassVar[str] = "rotation"
    num_global_crops: ClassVar[int] = 1

    augmentation: AugmentationName = option("plain", "what is done to an image before it is rotated")  # noqa: RUF009
