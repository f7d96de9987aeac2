"""What methods that train a vision backbone on augmented crops can be told: the backbone, the crops, the pooling."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

from hfssl.config.fields import option
from hfssl.config.sections import DataConfig
from hfssl.data.images.config import ImageDataConfig
from hfssl.data.images.views_config import ViewsConfig
from hfssl.methods.backbone_settings import BackboneSettings

if TYPE_CHECKING:
    from transformers import PretrainedConfig

Pooling = Literal["cls", "mean", "mean_patches"]


@dataclass(frozen=True, kw_only=True)
class VisionConfig(ViewsConfig, BackboneSettings):
    """Base of such methods' configs. A subclass with a `__post_init__` of its own calls this one."""

    pooling: Pooling | None = option(  # noqa: RUF009
        None, "features of an image: cls, mean or mean_patches (default: what the architecture has)"
    )

    def __post_init__(self) -> None:
        ViewsConfig.__post_init__(self)
        BackboneSettings.__post_init__(self)

    def check(self, data: DataConfig) -> None:
        self.check_views(data)
        BackboneSettings.check(self, data)

    def check_views(self, data: DataConfig) -> None:
        """Raise ConfigError where images of `data` cannot become these views."""
        ViewsConfig.check(self, data)

    def adopt(
        self, data: ImageDataConfig, model_config: "PretrainedConfig", given: frozenset[str]
    ) -> tuple[Self, ImageDataConfig]:
        adopted, fitted = BackboneSettings.adopt(self, data, model_config, given)
        adopted.check_views(fitted)
        return adopted, fitted

    @classmethod
    def tiny(cls) -> Self:
        return cls(patch_size=2, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, augmentation="digits")
