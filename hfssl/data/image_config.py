"""Image data: where the images are and how they reach the model."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, Self

from hfssl.config import DataConfig, option, require
from hfssl.data.location_check import TABLE_SUFFIXES, check_location

IMAGE_SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2"])
DEMO_SETS = ("digits",)


@dataclass(frozen=True, kw_only=True)
class ImageDataConfig(DataConfig):
    image_column: str | None = option(None, "column of the images (default: the only one of that type)")
    label_column: str | None = option(None, "column of the labels, for evaluation alone", "own_rule")
    image_size: int = option(224, "side in pixels of what the model sees")
    num_channels: int = option(3, "channels of what the model sees; grey images become 3 equal ones by default")
    pixel_mean: tuple[float, ...] = option((0.5,), "mean of pixels in [0, 1]: one number or one a channel")
    pixel_std: tuple[float, ...] = option((0.5,), "standard deviation of pixels in [0, 1]: one number or one a channel")
    cache: Literal["auto", "never"] = option("auto", "keep decoded images on disk where they fit", "may_change")

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.image_size > 0, f"image_size must be above 0, got {self.image_size}")
        require(self.num_channels > 0, f"num_channels must be above 0, got {self.num_channels}")
        for name in ("pixel_mean", "pixel_std"):
            values = getattr(self, name)
            require(
                len(values) in (1, self.num_channels),
                f"{name} must be one number or {self.num_channels} (one a channel), got {len(values)}",
            )
        require(min(self.pixel_std) > 0, f"pixel_std must be above 0, got {self.pixel_std}")

    def check(self) -> None:
        if self.dataset is not None:
            check_location(
                self.dataset,
                demo_sets=DEMO_SETS,
                samples="images",
                suffixes=IMAGE_SUFFIXES,
                one_file=TABLE_SUFFIXES,
            )

    def adopt_processor(self, processor: Any, given: frozenset[str]) -> Self:
        if (
            {"pixel_mean", "pixel_std"} & given
            or processor is None
            or processor.image_mean is None
            or processor.image_std is None
        ):
            return self
        return dataclasses.replace(self, pixel_mean=tuple(processor.image_mean), pixel_std=tuple(processor.image_std))

    @classmethod
    def tiny(cls) -> Self:
        return cls(dataset="demo:digits", image_size=8, num_workers=0)
