"""What methods that compare views of an image can be told: more views, and the projection head's sizes."""

import dataclasses
from dataclasses import dataclass
from typing import Self

from hfssl.config.fields import option
from hfssl.config.sections import DataConfig
from hfssl.data.images.config import ImageDataConfig
from hfssl.data.images.views_config import MultiCropConfig
from hfssl.errors import require
from hfssl.methods.vision_settings import VisionConfig


@dataclass(frozen=True, kw_only=True)
class JointEmbeddingConfig(VisionConfig):
    """Base of the methods with two global crops of one size."""

    projection_hidden_size: int = option(2048, "width of the projection head's hidden layers")
    projection_size: int = option(128, "width of the projections")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("projection_hidden_size", "projection_size"):
            require(getattr(self, name) > 0, f"{name} must be above 0, got {getattr(self, name)}")

    @classmethod
    def tiny(cls) -> Self:
        return dataclasses.replace(super().tiny(), projection_hidden_size=24, projection_size=8)


@dataclass(frozen=True, kw_only=True)
class MultiCropEmbeddingConfig(MultiCropConfig, JointEmbeddingConfig):
    """Base of the methods that take small local crops in addition to the two global ones."""

    def check(self, data: DataConfig) -> None:
        JointEmbeddingConfig.check(self, data)

    def check_views(self, data: DataConfig) -> None:
        assert isinstance(data, ImageDataConfig)
        self.check_local_size(data.image_size)
        patch = self.patch_size
        require(
            self.num_local_crops == 0 or patch is None or self.local_crop_size % patch == 0,
            f"local_crop_size {self.local_crop_size} must be a multiple of patch_size {patch}",
        )
        super().check_views(data)


def check_share(name: str, value: float) -> None:
    """Raise ConfigError unless `value` is a share of the run."""
    require(0 <= value <= 1, f"{name} must be in [0, 1], got {value:g}")


def check_positive(name: str, value: float) -> None:
    """Raise ConfigError unless `value` is above 0."""
    require(value > 0, f"{name} must be above 0, got {value:g}")


def check_momentum(name: str, value: float) -> None:
    """Raise ConfigError unless `value` keeps some of the old and is no copy of the new."""
    require(0 < value <= 1, f"{name} must be in (0, 1], got {value:g}")


def check_queue(queue_size: int, global_batch_size: int) -> None:
    """Raise ConfigError unless whole batches fill the queue."""
    nearest = max(1, round(queue_size / global_batch_size)) * global_batch_size
    require(
        queue_size % global_batch_size == 0,
        f"queue_size {queue_size} must be a multiple of global_batch_size {global_batch_size}; the nearest is {nearest}",
    )
