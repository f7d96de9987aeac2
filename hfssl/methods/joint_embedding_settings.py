"""What methods that compare views of an image can be told: the backbone, the views, and the projection head's sizes."""

from dataclasses import dataclass
from typing import Any, Literal, Self

from hfssl.config import DataConfig, option, require
from hfssl.data.image_config import ImageDataConfig
from hfssl.data.views_config import MultiCropConfig, ViewsConfig
from hfssl.methods.backbone_settings import BackboneSettings

Pooling = Literal["cls", "mean", "mean_patches"]


@dataclass(frozen=True, kw_only=True)
class JointEmbeddingConfig(ViewsConfig, BackboneSettings):
    """Base of the methods with two global crops of one size."""

    pooling: Pooling | None = option(  # noqa: RUF009
        None, "features of an image: cls, mean or mean_patches (default: what the architecture has)"
    )
    projection_hidden_size: int = option(2048, "width of the projection head's hidden layers")
    projection_size: int = option(128, "width of the projections")

    def __post_init__(self) -> None:
        ViewsConfig.__post_init__(self)
        BackboneSettings.__post_init__(self)
        for name in ("projection_hidden_size", "projection_size"):
            require(getattr(self, name) > 0, f"{name} must be above 0, got {getattr(self, name)}")

    def check(self, data: DataConfig) -> None:
        self.check_views(data)
        BackboneSettings.check(self, data)

    def check_views(self, data: DataConfig) -> None:
        """Raise ConfigError where images of `data` can not become these views."""
        ViewsConfig.check(self, data)

    def adopt(self, data: ImageDataConfig, model_config: Any, given: frozenset[str]) -> tuple[Self, ImageDataConfig]:
        adopted, fitted = BackboneSettings.adopt(self, data, model_config, given)
        adopted.check_views(fitted)
        return adopted, fitted

    @classmethod
    def tiny(cls) -> Self:
        return cls(
            patch_size=2,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            augmentation="digits",
            projection_hidden_size=24,
            projection_size=8,
        )


@dataclass(frozen=True, kw_only=True)
class MultiCropEmbeddingConfig(MultiCropConfig, JointEmbeddingConfig):
    """Base of the methods that take small local crops beside the two global ones."""

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
