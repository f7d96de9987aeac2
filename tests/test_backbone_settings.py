"""Settings of a vision backbone: a ViT from flags, or the sizes of any vision config."""

import pytest
from transformers import BertConfig, ViTConfig

from hfssl.data.images.config import ImageDataConfig
from hfssl.errors import ConfigError
from hfssl.methods.backbone_settings import BackboneSettings
from hfssl.methods.vision_backbone import build_backbone
from tests.support.backbones import SIZE, config_of

TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


class Settings(BackboneSettings):
    recipe = "toy"


def test_a_vit_is_built_from_flags_for_the_images_at_hand() -> None:
    data = ImageDataConfig(image_size=24, num_channels=1)
    backbone = build_backbone(BackboneSettings(patch_size=8, **TINY), data, None)
    config = backbone.model.config
    assert (config.image_size, config.num_channels, config.patch_size, config.intermediate_size) == (24, 1, 8, 64)
    assert backbone.width == 16
    assert backbone.model.embeddings.position_embeddings.shape == (1, 10, 16)


def test_settings_adopt_any_vision_config_and_its_image_size_unless_given() -> None:
    data = ImageDataConfig(image_size=64)
    adopted, changed = Settings().adopt(data, config_of("dinov2"), frozenset())
    assert (adopted.patch_size, adopted.hidden_size, adopted.intermediate_size) == (8, 16, None)
    assert changed.image_size == SIZE
    adopted, changed = Settings().adopt(data, config_of("resnet"), frozenset())
    assert (adopted.patch_size, adopted.hidden_size, changed.image_size) == (None, None, 64)
    assert Settings().adopt(data, config_of("vit"), frozenset({"image_size"}))[1].image_size == 64
    grey = ImageDataConfig(image_size=64, num_channels=1)
    assert Settings().adopt(grey, config_of("vit"), frozenset())[1].num_channels == 3
    assert Settings().adopt(grey, config_of("vit"), frozenset({"num_channels"}))[1].num_channels == 1
    with pytest.raises(ConfigError, match="image_size 60 must be a multiple of patch_size 8"):
        Settings().adopt(ImageDataConfig(image_size=60), config_of("vit"), frozenset({"image_size"}))
    with pytest.raises(ConfigError, match="builds on the config of an image encoder, got one of type bert"):
        Settings().adopt(data, BertConfig(), frozenset())
    with pytest.raises(ConfigError, match="only squares are supported"):
        Settings().adopt(data, ViTConfig(image_size=[32, 48]), frozenset())


def test_settings_that_are_no_vit_are_an_error() -> None:
    data = ImageDataConfig(image_size=64)
    with pytest.raises(ConfigError, match="hidden_size 10 must be a multiple of num_attention_heads 4"):
        Settings(hidden_size=10, num_attention_heads=4)
    with pytest.raises(ConfigError, match="patch_size must be a number, unless --model_config"):
        Settings(patch_size=None).check(data)
    with pytest.raises(ConfigError, match="image_size 64 must be a multiple of patch_size 12; the nearest is 60"):
        Settings(patch_size=12).check(data)
    with pytest.raises(ConfigError, match="num_hidden_layers must be above 0"):
        Settings(num_hidden_layers=0)
