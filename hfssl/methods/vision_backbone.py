"""The backbone that a method's settings ask for: a ViT of the flags' sizes, or what --model_config or --init_from names."""

from typing import Any

from transformers import PretrainedConfig, ViTConfig, ViTModel

from hfssl.data.images.config import ImageDataConfig
from hfssl.methods.backbone_settings import SIZES, BackboneSettings
from hfssl.models.backbone import Backbone
from hfssl.nn.xavier import initialise_linear, initialise_patches


def build_backbone(
    settings: BackboneSettings,
    data: ImageDataConfig,
    model_config: PretrainedConfig | None,
    *,
    pooling: str | None = None,
) -> Backbone:
    """A freshly initialised backbone.

    Args:
        settings: sizes of the ViT; without effect with a `model_config`, which was adopted.
        data: its image size and number of channels are those of the model.
        model_config: a transformers config or None.
        pooling: see `Backbone.build`.

    Raises:
        ConfigError: as `Backbone.build`.
    """
    sizes = {"image_size": data.image_size, "num_channels": data.num_channels}
    if model_config is not None:
        return Backbone.build(model_config, **sizes, pooling=pooling)
    backbone = Backbone.build(vit_config(settings), **sizes, pooling=pooling)
    vit = backbone.model
    assert isinstance(vit, ViTModel)
    initialise_linear(vit)
    initialise_patches(vit.embeddings.patch_embeddings.projection)
    return backbone


def vit_config(settings: BackboneSettings) -> ViTConfig:
    """A stock ViT config of the flags' sizes."""
    sizes: dict[str, Any] = {name: getattr(settings, name) for name in SIZES}
    assert None not in sizes.values(), "checked by BackboneSettings.check"
    return ViTConfig(**sizes, intermediate_size=settings.intermediate_size or 4 * sizes["hidden_size"])
