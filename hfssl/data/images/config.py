"""Image data: where the images are and how they reach the model."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, Self

from hfssl.config.fields import option
from hfssl.config.sections import DataConfig
from hfssl.data.location_check import TABLE_SUFFIXES, check_location
from hfssl.errors import require

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_PHOTOS = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff", ".avif"}
IMAGE_SUFFIXES = frozenset(_PHOTOS | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".tga"})
DEMO_SETS = ("digits",)


class PixelStatistics(Protocol):
    """The part of an image processor that normalises."""

    image_mean: Sequence[float] | None
    image_std: Sequence[float] | None


@dataclass(frozen=True, kw_only=True)
class ImageDataConfig(DataConfig):
    samples: ClassVar[str] = "images"
    row_name: ClassVar[str] = "images"
    suffixes: ClassVar[frozenset[str]] = IMAGE_SUFFIXES
    processor_class: ClassVar[str | None] = "AutoImageProcessor"

    image_column: str | None = option(None, "column of the images (default: the only one of that type)")
    label_column: str | None = option(None, "column of the labels, for evaluation only", "own_rule", basic=True)
    image_size: int = option(224, "side in pixels of what the model sees", basic=True)
    num_channels: int = option(3, "channels of what the model sees; grey images become 3 equal ones by default")
    pixel_mean: tuple[float, ...] = option((0.5,), "mean of pixels in [0, 1]: one number or one per channel")
    pixel_std: tuple[float, ...] = option(
        (0.5,), "standard deviation of pixels in [0, 1]: one number or one per channel"
    )
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
                samples=self.samples,
                suffixes=self.suffixes,
                one_file=TABLE_SUFFIXES,
            )

    def adopt_processor(self, processor: PixelStatistics | None, given: frozenset[str]) -> Self:
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

    def adopt_model(self, model_config: "PretrainedConfig", given: frozenset[str], recipe: str) -> Self:
        """These settings with image size and channels of any vision config, as far as it has them and unless they were given.

        Raises:
            ConfigError: it is no image encoder, or one of images that are no squares.
        """
        stored, kind = model_config.to_dict(), model_config.model_type
        require(
            "num_channels" in stored,
            f"{recipe} builds on the config of an image encoder, got one of type {kind}, which has no num_channels",
        )
        adopted = self
        size = stored.get("image_size")
        if size is not None and "image_size" not in given:
            side = one_number(size)
            require(side is not None, f"image_size of the model is {size}: only squares are supported")
            assert side is not None
            adopted = dataclasses.replace(self, image_size=side)
        channels = self.num_channels if "num_channels" in given else stored["num_channels"]
        return dataclasses.replace(adopted, num_channels=channels)


def one_number(value: object) -> int | None:
    """A size that is one number, or an equal pair; None where it differs from stage to stage or does not exist."""
    sides = set(value) if isinstance(value, (list, tuple)) else {value}
    side = sides.pop() if len(sides) == 1 else None
    return side if isinstance(side, int) else None
