"""Presets do what they claim, flags stand in their place, and a flag without effect is refused."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

from hfssl.data.images.augmentation_config import ASYMMETRIC, PRESETS, Augmentation, blur_radius
from hfssl.data.images.config import ImageDataConfig
from hfssl.data.images.views_config import MultiCropConfig, ViewsConfig
from hfssl.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Asymmetric(ViewsConfig):
    asymmetric: ClassVar[bool] = True


def test_digits_are_never_mirrored_and_the_body_keeps_its_sides() -> None:
    for name in ("digits", "medical"):
        preset = PRESETS[name]
        assert preset.horizontal_flip_probability == preset.vertical_flip_probability == 0
        assert preset.rotation <= 15


@pytest.mark.parametrize("name", ["grey", "medical", "digits"])
def test_presets_without_colour_work_on_any_number_of_channels(name: str) -> None:
    for num_channels in (1, 2, 3, 6):
        PRESETS[name].check(num_channels, 224)
        for config in (ViewsConfig(augmentation=name), Asymmetric(augmentation=name)):
            config.check(ImageDataConfig(dataset="demo:digits", num_channels=num_channels))


def test_only_small_views_lack_a_blur() -> None:
    assert PRESETS["small"].blur_probability == 0
    assert [blur_radius(size) for size in (19, 20, 32, 96, 224)] == [0, 1, 1, 4, 11]  # kernels of 3, 3, 9, 23
    PRESETS["small"].check(3, 8)
    with pytest.raises(ConfigError, match="blur has no effect on a view of 16 pixels"):
        ViewsConfig().check(ImageDataConfig(dataset="demo:digits", image_size=16))


def test_every_preset_has_its_asymmetric_pair() -> None:
    assert ASYMMETRIC.keys() == PRESETS.keys()
    views = Asymmetric().views(224)["global_crops"]
    assert [view.augmentation.blur_probability for view in views] == [1.0, 0.1]
    assert [view.augmentation.solarise_probability for view in views] == [0.0, 0.2]
    symmetric = Asymmetric(blur_probability=(0.5,), solarise_probability=(0.0,)).views(224)
    assert symmetric == ViewsConfig().views(224)


def test_flags_stand_in_the_place_of_the_presets_values() -> None:
    config = ViewsConfig(crop_scale=(0.2, 1.0), saturation=0.4, blur_probability=(1.0, 0.1))
    first, second = config.views(64)["global_crops"]
    assert (first.size, first.augmentation.crop_scale, second.augmentation.saturation) == (64, (0.2, 1.0), 0.4)
    assert (first.augmentation.blur_probability, second.augmentation.blur_probability) == (1.0, 0.1)
    assert first.augmentation.hue == PRESETS["natural"].hue


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"rotation": 10.0}, "rotation has no effect where affine_probability is 0"),
        ({"affine_probability": 0.5}, "affine_probability has no effect without rotation or translation"),
        ({"augmentation": "small", "blur_sigma": (0.1, 1.0)}, "blur_sigma has no effect where blur_probability is 0"),
        ({"jitter_probability": 0.0, "brightness": 0.2}, "brightness has no effect where jitter_probability is 0"),
        ({"noise_probability": 0.5}, "noise_probability has no effect without noise_sigma"),
        ({"noise_sigma": (0.0, 0.1)}, "noise_sigma has no effect where noise_probability is 0"),
        ({"blur_probability": (0.1, 0.2, 0.3)}, "blur_probability must be one number or 2"),
        ({"blur_probability": ()}, "blur_probability must be one number or 2"),
        ({"hue": 0.7}, r"hue must be in \[0, 0.5\]"),
        ({"grey_probability": 1.5}, r"grey_probability must be in \[0, 1\]"),
        ({"crop_scale": (0.5, 0.2)}, "crop_scale must be two rising numbers"),
        ({"blur_sigma": (0.0, 0.2)}, "blur_sigma must be two rising numbers"),
        ({"blur_sigma": (float("nan"), 0.2)}, "blur_sigma must be two rising numbers"),
        ({"brightness": float("nan")}, "brightness must be"),
    ],
)
def test_what_has_no_effect_or_can_not_be_is_one_line(flags: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        ViewsConfig(**flags)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_an_operation_can_be_turned_off_by_its_probability_alone() -> None:
    for name in ("jitter_probability", "affine_probability", "noise_probability"):
        for view in ViewsConfig(augmentation="digits", **{name: 0.0}).views(32)["global_crops"]:
            assert getattr(view.augmentation, name) == 0


@pytest.mark.parametrize("name", ["saturation", "hue", "grey_probability"])
def test_colour_on_one_channel_is_an_error(name: str) -> None:
    data = ImageDataConfig(dataset="demo:digits", num_channels=1)
    config = ViewsConfig(augmentation="grey", **{name: 0.2})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=f"{name} 0.2 has no effect on 1 channel"):
        config.check(data)
    config.check(ImageDataConfig(dataset="demo:digits"))
    Augmentation(saturation=0.2).check(1, 8)  # of a jitter that never happens


def test_local_crops_have_their_own_size_and_scale() -> None:
    assert MultiCropConfig().views(64).keys() == {"global_crops"}
    config = MultiCropConfig(num_local_crops=6, local_crop_size=32, local_crop_scale=(0.05, 0.2), brightness=0.3)
    views = config.views(64)["local_crops"]
    assert len(views) == 6
    assert {view.size for view in views} == {32}
    assert views[0].augmentation.crop_scale == (0.05, 0.2)
    assert views[0].augmentation.brightness == 0.3
    assert views[0].augmentation.blur_probability == 0.5
    pair = MultiCropConfig(num_local_crops=1, local_crop_size=32, blur_probability=(1.0, 0.1))
    assert pair.views(64)["local_crops"][0].augmentation.blur_probability == 0.5
    single = MultiCropConfig(num_local_crops=1, local_crop_size=32, blur_probability=(0.2,))
    assert single.views(64)["local_crops"][0].augmentation.blur_probability == 0.2
    with pytest.raises(ConfigError, match="local_crop_size 96 must be at most"):
        MultiCropConfig(num_local_crops=2).check(ImageDataConfig(dataset="demo:digits", image_size=64))
    assert "local_crop_size" in MultiCropConfig(local_crop_size=32).without_effect()
    assert not MultiCropConfig(local_crop_size=32, num_local_crops=2).without_effect()
