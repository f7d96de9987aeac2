"""What a method that compares views of an image can be told about them, as flags. No torch here."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from hfssl.config.fields import option
from hfssl.config.sections import DataConfig, MethodConfig
from hfssl.data.images.augmentation_config import ASYMMETRIC, GOVERNED, PRESETS, Augmentation, AugmentationName, View
from hfssl.data.images.config import ImageDataConfig
from hfssl.errors import require


@dataclass(frozen=True, kw_only=True)
class AugmentationFlags:
    """Overrides of a preset's probabilities and strengths; None is the preset's value."""

    num_global_crops: ClassVar[int] = 2
    asymmetric: ClassVar[bool] = (
        False  # whether the two views differ in blur and solarisation where nothing else is said
    )

    crop_scale: tuple[float, float] | None = option(None, "share of the area that a crop takes, smallest and largest")
    crop_ratio: tuple[float, float] | None = option(None, "width of a crop by its height, smallest and largest")
    horizontal_flip_probability: float | None = option(None, "share of views mirrored left to right")
    vertical_flip_probability: float | None = option(None, "share of views mirrored top to bottom")
    affine_probability: float | None = option(None, "share of views that are rotated, moved, scaled and sheared")
    rotation: float | None = option(None, "largest rotation in degrees")
    translation: float | None = option(None, "largest move, as a share of the side")
    scaling: tuple[float, float] | None = option(None, "smallest and largest factor of size")
    shear: float | None = option(None, "largest shear in degrees")
    jitter_probability: float | None = option(None, "share of views whose colours are jittered")
    brightness: float | None = option(None, "jitter of brightness: a factor from 1 - x to 1 + x")
    contrast: float | None = option(None, "jitter of contrast, likewise")
    saturation: float | None = option(None, "jitter of saturation, likewise; colour images only")
    hue: float | None = option(None, "jitter of hue: at most this share of a full turn; colour images only")
    grey_probability: float | None = option(None, "share of views without colour; colour images only")
    blur_probability: tuple[float, ...] | None = option(
        None, "share of views that are blurred: one number, or one per view"
    )
    blur_sigma: tuple[float, float] | None = option(None, "smallest and largest width of the blur in pixels")
    solarise_probability: tuple[float, ...] | None = option(
        None, "share of views whose bright pixels are inverted: one number, or one per view"
    )
    noise_probability: float | None = option(None, "share of views with Gaussian noise")
    noise_sigma: tuple[float, float] | None = option(
        None, "smallest and largest standard deviation of the noise; white is 1"
    )

    def overrides(self) -> dict[str, Any]:
        """The flags that stand in place of the preset's values."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(Augmentation)}
        return {name: value for name, value in values.items() if value is not None}

    def global_augmentations(self, preset: AugmentationName) -> list[Augmentation]:
        """One for each global crop: the preset, where asked for its asymmetric pair, then the overrides."""
        given = (dict(ASYMMETRIC[preset]) if self.asymmetric else {}) | self.overrides()
        return [
            dataclasses.replace(
                PRESETS[preset],
                **{name: _of_view(name, value, view, self.num_global_crops) for name, value in given.items()},
            )
            for view in range(self.num_global_crops)
        ]

    def check_effects(self, augmentations: list[Augmentation]) -> None:
        """Raise ConfigError for an override that changes none of the views."""
        given = self.overrides()
        for probability, strengths in GOVERNED.items():
            happens = any(getattr(augmentation, probability) > 0 for augmentation in augmentations)
            for name in strengths:
                require(
                    happens or name not in given,
                    f"{name} has no effect where {probability} is 0: add --{probability}, or leave --{name} out",
                )
            changes = any(augmentation.effective().keys() & set(strengths) for augmentation in augmentations)
            require(
                changes or not happens or probability not in given,
                f"{probability} has no effect without {' or '.join(strengths)}: set one of them, or leave it out",
            )


@dataclass(frozen=True, kw_only=True)
class ViewsConfig(AugmentationFlags, MethodConfig):
    """Base of the methods that take two global crops of each image, `global_crops`.

    A subclass that checks its own fields in `__post_init__` or `check` calls the one here too; its data path is
    `ViewsPipeline(data, config.views(data.image_size))`. `asymmetric = True` starts from the preset's pair of unequal views.
    """

    modality: ClassVar[Literal["text", "image", "audio"]] = "image"

    augmentation: AugmentationName = option(  # noqa: RUF009
        "natural", "what is done to a view (docs/guides/augmentation.md)", basic=True
    )

    def __post_init__(self) -> None:
        self.check_effects([view.augmentation for views in self.views(1).values() for view in views])

    @classmethod
    def tiny(cls) -> Self:
        return cls(augmentation="small")

    def views(self, image_size: int) -> dict[str, list[View]]:
        """The views of an image by the name of their group, as `ViewsPipeline` takes them."""
        return {"global_crops": [View(image_size, own) for own in self.global_augmentations(self.augmentation)]}

    def check(self, data: DataConfig) -> None:
        assert isinstance(data, ImageDataConfig)
        for views in self.views(data.image_size).values():
            for view in views:
                view.augmentation.check(data.num_channels, view.size)


@dataclass(frozen=True, kw_only=True)
class LocalCropFlags:
    """Small crops in addition to the global ones (Caron et al. 2020, arXiv 2006.09882, section 3.2)."""

    num_local_crops: int = option(0, "small crops of each image, in addition to the global ones")
    local_crop_size: int = option(96, "side of a small crop in pixels")
    local_crop_scale: tuple[float, float] = option((0.05, 0.4), "share of the area that a small crop takes")

    def local_views(self, flags: AugmentationFlags, preset: AugmentationName) -> list[View]:
        """The preset's symmetric blur and solarisation, unless one number was given for all views."""
        single = {
            name: value[0] if name in ("blur_probability", "solarise_probability") else value
            for name, value in flags.overrides().items()
            if name not in ("blur_probability", "solarise_probability") or len(value) == 1
        }
        own = dataclasses.replace(PRESETS[preset], **single | {"crop_scale": self.local_crop_scale})
        return [View(self.local_crop_size, own)] * self.num_local_crops

    def check_local_crops(self) -> None:
        """Raise ConfigError for numbers that cannot be."""
        require(self.num_local_crops >= 0, f"num_local_crops must be at least 0, got {self.num_local_crops}")
        require(self.local_crop_size > 0, f"local_crop_size must be above 0, got {self.local_crop_size}")
        low, high = self.local_crop_scale
        require(0 < low <= high <= 1, f"local_crop_scale must be two rising numbers in (0, 1], got {low:g} {high:g}")

    def without_effect(self) -> dict[str, str]:
        """Flags that change nothing, and why."""
        unused = [] if self.num_local_crops else ["local_crop_size", "local_crop_scale"]
        return dict.fromkeys(unused, "without --num_local_crops: set that, or leave it out")

    def check_local_size(self, image_size: int) -> None:
        """Raise ConfigError for small crops that are larger than the global ones."""
        require(
            self.num_local_crops == 0 or self.local_crop_size <= image_size,
            f"local_crop_size {self.local_crop_size} must be at most the global crops' {image_size} (image_size)",
        )


@dataclass(frozen=True, kw_only=True)
class MultiCropConfig(LocalCropFlags, ViewsConfig):
    """Base of the methods that take `local_crops` in addition to the two `global_crops`."""

    def __post_init__(self) -> None:
        self.check_local_crops()
        super().__post_init__()

    def views(self, image_size: int) -> dict[str, list[View]]:
        local = self.local_views(self, self.augmentation)
        return super().views(image_size) | ({"local_crops": local} if local else {})

    def check(self, data: DataConfig) -> None:
        assert isinstance(data, ImageDataConfig)
        self.check_local_size(data.image_size)
        super().check(data)


def _of_view(name: str, value: Any, view: int, num_views: int) -> Any:
    if name not in ("blur_probability", "solarise_probability"):
        return value
    require(len(value) in (1, num_views), f"{name} must be one number or {num_views} (one a view), got {len(value)}")
    return value[0] if len(value) == 1 else value[view]
