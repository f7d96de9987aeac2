"""Image data: where the images are and how they reach the model."""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from hfssl.config import DataConfig, option, require

IMAGE_SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2"])
TABLE_SUFFIXES = frozenset([".parquet", ".jsonl", ".json", ".csv", ".arrow"])
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
        if self.dataset is None:
            return
        if self.dataset.startswith("demo:"):
            known = ", ".join(f"demo:{name}" for name in DEMO_SETS)
            require(
                self.dataset[5:] in DEMO_SETS, f"--dataset {self.dataset} is not an embedded set; there are: {known}"
            )
            return
        path = Path(self.dataset).expanduser()
        if path.is_dir():
            _check_folder(path)
        elif path.is_file():
            allowed = ", ".join(sorted(TABLE_SUFFIXES))
            require(
                path.suffix in TABLE_SUFFIXES,
                f"--dataset {path} is a {path.suffix} file; a file must be one of {allowed}",
            )
        else:
            looks_local = self.dataset.startswith((".", "/", "~")) or self.dataset.count("/") > 1
            require(not looks_local, f"--dataset {self.dataset} does not exist: give a folder, a file or a Hub id")

    def adopt_processor(self, processor: Any, given: frozenset[str]) -> Self:
        if {"pixel_mean", "pixel_std"} & given or processor.image_mean is None or processor.image_std is None:
            return self
        return dataclasses.replace(self, pixel_mean=tuple(processor.image_mean), pixel_std=tuple(processor.image_std))

    @classmethod
    def tiny(cls) -> Self:
        return cls(dataset="demo:digits", image_size=8, num_workers=0)


def _check_folder(path: Path) -> None:
    empty = True
    for _, _, names in os.walk(path):
        for name in names:
            empty = False
            if Path(name).suffix.lower() in IMAGE_SUFFIXES | TABLE_SUFFIXES or name == "state.json":
                return
    require(not empty, f"--dataset {path} is an empty folder")
    suffixes = " ".join(sorted(IMAGE_SUFFIXES))
    require(False, f"--dataset {path} holds neither images ({suffixes}) nor tables (Parquet, JSONL, CSV)")
