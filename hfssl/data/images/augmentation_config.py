"""What may be done to a view of an image, and the named presets. No torch here.

Colour strengths are those of torchvision's ColorJitter: a factor is drawn from [1 - strength, 1 + strength], not below 0; a
turn of the hue from [-hue, hue]. docs/guides/augmentation.md says what each operation teaches and when it harms.
"""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from hfssl.errors import require

AugmentationName = Literal["natural", "small", "grey", "medical", "digits", "plain"]
_PROBABILITIES = (
    *("horizontal_flip_probability", "vertical_flip_probability", "affine_probability", "jitter_probability"),
    *("grey_probability", "blur_probability", "solarise_probability", "noise_probability"),
)
GOVERNED = {  # probability -> the strengths that have an effect where it is above 0
    "affine_probability": ("rotation", "translation", "scaling", "shear"),
    "jitter_probability": ("brightness", "contrast", "saturation", "hue"),
    "blur_probability": ("blur_sigma",),
    "noise_probability": ("noise_sigma",),
}
_WITHOUT_EFFECT = (0.0, (0.0, 0.0), (1.0, 1.0))
_LARGEST = {
    "brightness": 10.0,
    "contrast": 10.0,
    "saturation": 10.0,
    "hue": 0.5,
    "rotation": 180.0,
    "translation": 1.0,
    "shear": 60.0,
}
_SMALLEST_BLURRED_SIDE = 20


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Probabilities and strengths of one view; as it stands here, the whole image. Applied in the order of the fields."""

    crop_scale: tuple[float, float] = (1.0, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    horizontal_flip_probability: float = 0.0
    vertical_flip_probability: float = 0.0
    affine_probability: float = 0.0
    rotation: float = 0.0
    translation: float = 0.0
    scaling: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0
    jitter_probability: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grey_probability: float = 0.0
    blur_probability: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarise_probability: float = 0.0
    noise_probability: float = 0.0
    noise_sigma: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        for name in _PROBABILITIES:
            value = getattr(self, name)
            require(0 <= value <= 1, f"{name} must be in [0, 1], got {value:g}")
        for name, most in _LARGEST.items():
            value = getattr(self, name)
            require(0 <= value <= most, f"{name} must be in [0, {most:g}], got {value:g}")
        ceilings = {"crop_scale": 1.0, "crop_ratio": 10.0, "scaling": 10.0, "blur_sigma": 100.0}
        for name, ceiling in ceilings.items():
            low, high = getattr(self, name)
            require(
                0 < low <= high <= ceiling,
                f"{name} must be two rising numbers in (0, {ceiling:g}], got {low:g} {high:g}",
            )
        low, high = self.noise_sigma
        require(0 <= low <= high <= 1, f"noise_sigma must be two rising numbers in [0, 1], got {low:g} {high:g}")

    @property
    def blends(self) -> tuple[str, ...]:
        """Which of brightness, contrast and saturation ever change."""
        names = ("brightness", "contrast", "saturation") if self.jitter_probability > 0 else ()
        return tuple(name for name in names if getattr(self, name) > 0)

    def effective(self) -> dict[str, float | tuple[float, float]]:
        """The settings that change a view, in the order in which they act."""
        idle = {name for chance, names in GOVERNED.items() if getattr(self, chance) == 0 for name in (chance, *names)}
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self) if item.name not in idle}
        return {name: value for name, value in values.items() if value not in _WITHOUT_EFFECT}

    def check(self, num_channels: int, size: int) -> None:
        """Raise ConfigError for what has no effect on images of `num_channels` at `size` pixels a side."""
        if num_channels != 3:
            for name in ("saturation", "hue", "grey_probability"):
                acts = getattr(self, name) > 0 and (name == "grey_probability" or self.jitter_probability > 0)
                require(
                    not acts,
                    f"{name} {getattr(self, name):g} has no effect on {num_channels} channel(s): set --{name} 0 "
                    "(--augmentation grey leaves such operations out)",
                )
        require(
            self.blur_probability == 0 or blur_radius(size) > 0,
            f"blur has no effect on a view of {size} pixels (a tenth of the side): set --blur_probability 0, take "
            f"--augmentation small, or make views of {_SMALLEST_BLURRED_SIDE} pixels or more",
        )


@dataclass(frozen=True)
class View:
    """One view of an image: its side in pixels and what is done to it."""

    size: int
    augmentation: Augmentation


def blur_radius(size: int) -> int:
    """Pixels that the blur reaches to each side: its kernel is a tenth of the side, made odd (Chen et al. 2020, arXiv
    2002.05709, appendix A)."""
    return size // 10 // 2


_NATURAL = Augmentation(  # crop, flip, grey, blur: arXiv 2002.05709, appendix A; jitter: arXiv 2006.07733, table 6
    crop_scale=(0.08, 1.0),
    horizontal_flip_probability=0.5,
    jitter_probability=0.8,
    brightness=0.4,
    contrast=0.4,
    saturation=0.2,
    hue=0.1,
    grey_probability=0.2,
    blur_probability=0.5,
    blur_sigma=(0.1, 2.0),
)

PRESETS: dict[AugmentationName, Augmentation] = {
    "natural": _NATURAL,
    "small": dataclasses.replace(  # arXiv 2002.05709, appendix B.9: half of the full colour strength, no blur
        _NATURAL, saturation=0.4, blur_probability=0.0
    ),
    "grey": dataclasses.replace(_NATURAL, saturation=0.0, hue=0.0, grey_probability=0.0),
    "medical": Augmentation(  # rotation: arXiv 2010.05352, without its flips
        crop_scale=(0.5, 1.0),
        affine_probability=0.8,
        rotation=10.0,
        jitter_probability=0.8,
        brightness=0.2,
        contrast=0.2,
    ),
    "digits": Augmentation(
        crop_scale=(0.75, 1.0),
        affine_probability=0.8,
        rotation=15.0,
        translation=0.1,
        scaling=(0.85, 1.15),
        shear=10.0,
        jitter_probability=0.8,
        brightness=0.4,
        noise_probability=0.5,
        noise_sigma=(0.0, 0.1),
    ),
    "plain": Augmentation(crop_scale=(0.5, 1.0), horizontal_flip_probability=0.5),
}

ASYMMETRIC: dict[AugmentationName, dict[str, tuple[float, float]]] = {  # two views (arXiv 2006.07733, table 6)
    "natural": {"blur_probability": (1.0, 0.1), "solarise_probability": (0.0, 0.2)},
    "small": {"solarise_probability": (0.0, 0.2)},
    "grey": {"blur_probability": (1.0, 0.1), "solarise_probability": (0.0, 0.2)},
    "medical": {},
    "digits": {},
    "plain": {},
}
