"""Rotation prediction (Gidaris et al. 2018): by which quarter turn was the image rotated?"""

from dataclasses import dataclass
from typing import ClassVar

from hfssl.config.fields import option
from hfssl.config.sections import DataConfig
from hfssl.data.images.augmentation_config import AugmentationName
from hfssl.data.images.config import ImageDataConfig
from hfssl.errors import require
from hfssl.methods.vision_settings import VisionConfig

_AMBIGUOUS_TILT = 45.0


@dataclass(frozen=True, kw_only=True)
class RotationConfig(VisionConfig):
    recipe: ClassVar[str] = "rotation"
    loss_unit: ClassVar[str] = "nats per turned image"
    num_global_crops: ClassVar[int] = 1

    augmentation: AugmentationName = option("plain", "what is done to an image before it is rotated")  # noqa: RUF009
    crop_ratio: tuple[float, float] | None = option(
        (1.0, 1.0), "width of a crop by its height; what is stretched to a square tells its turn, so 1 by default"
    )

    def check_views(self, data: DataConfig) -> None:
        assert isinstance(data, ImageDataConfig)
        super().check_views(data)
        (view,) = self.views(data.image_size)["global_crops"]
        own = view.augmentation
        require(
            own.vertical_flip_probability == 0,
            "vertical_flip_probability must be 0: an image upside down and one turned by 180 degrees are the same task",
        )
        tilt = own.rotation if own.affine_probability > 0 else 0.0
        require(
            tilt < _AMBIGUOUS_TILT,
            f"rotation must be below {_AMBIGUOUS_TILT:g} degrees, got {tilt:g}: the quarter turns would run into each other",
        )
