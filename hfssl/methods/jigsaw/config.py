"""Jigsaw puzzles (Noroozi & Favaro 2016): in which order were the tiles of the image shuffled?"""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from hfssl.config.fields import option
from hfssl.config.sections import DataConfig
from hfssl.data.images.augmentation_config import AugmentationName
from hfssl.data.images.config import ImageDataConfig
from hfssl.errors import require
from hfssl.methods.vision_settings import VisionConfig

_SHARE_SEEN = 64 / 75  # of a cell's side (section 4.1: tiles of 64 pixels in cells of 75)
_USUAL_PERMUTATIONS = {2: 24, 3: 504}
_MOST_PERMUTATIONS = {2: 24, 3: 1512}


@dataclass(frozen=True, kw_only=True)
class JigsawConfig(VisionConfig):
    recipe: ClassVar[str] = "jigsaw"
    loss_unit: ClassVar[str] = "nats per puzzle"
    num_global_crops: ClassVar[int] = 1

    augmentation: AugmentationName = option("plain", "what is done to an image before it is cut up")  # noqa: RUF009
    grid: Literal[2, 3] = option(3, "tiles in a row and in a column", basic=True)
    tile_size: int | None = option(
        None, "side of a tile in pixels; the rest of its cell is gap (default: 64/75 of the cell, whole patches)"
    )
    channel_jitter: int = option(2, "largest shift of a tile's channels in pixels, inside its cell; of colour images")
    num_permutations: int | None = option(
        None, "orders to tell apart: up to 24 for 2 x 2, 1,512 for 3 x 3 (default: 24, 504)"
    )
    puzzles_per_image: int = option(1, "orders in which the tiles of an image are asked for per step")
    projection_size: int = option(512, "width of a tile's features in the head")
    projection_hidden_size: int = option(4096, "width of the layer that joins the tiles")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("projection_size", "projection_hidden_size", "puzzles_per_image"):
            require(getattr(self, name) > 0, f"{name} must be above 0, got {getattr(self, name)}")
        require(self.channel_jitter >= 0, f"channel_jitter must be at least 0, got {self.channel_jitter}")
        require(self.tile_size is None or self.tile_size > 0, f"tile_size must be above 0, got {self.tile_size}")
        most = _MOST_PERMUTATIONS[self.grid]
        require(
            2 <= self.permutations <= most,
            f"num_permutations must be from 2 to {most} for {self.grid} x {self.grid} tiles, got {self.num_permutations}",
        )

    @property
    def permutations(self) -> int:
        """How many orders there are to tell apart."""
        return _USUAL_PERMUTATIONS[self.grid] if self.num_permutations is None else self.num_permutations

    def tile_of(self, image_size: int) -> int:
        """Side of a tile in pixels for images of this size. Raises ConfigError where it does not fit."""
        cell, patch = image_size // self.grid, self.patch_size or 1
        tile = self.tile_size or int(cell * _SHARE_SEEN) // patch * patch
        require(
            0 < tile < cell,
            f"a cell of {cell} pixels (image_size {image_size}, grid {self.grid}) has no room for a tile of "
            f"{self.tile_size or patch} and a gap, without which edges fit: raise --image_size, or lower "
            f"--{'tile_size' if self.tile_size else 'patch_size'}",
        )
        require(
            tile % patch == 0,
            f"tile_size {tile} must be a multiple of patch_size {patch}; the nearest below is {tile // patch * patch}",
        )
        return tile

    def check_views(self, data: DataConfig) -> None:
        assert isinstance(data, ImageDataConfig)
        super().check_views(data)
        self.tile_of(data.image_size)
        (view,) = self.views(data.image_size)["global_crops"]
        require(
            view.augmentation.affine_probability == 0,
            "affine_probability must be 0: the black corners of a tilted image lie in the outer tiles and tell their place",
        )

    @classmethod
    def tiny(cls) -> Self:
        small: Any = {"grid": 2, "projection_size": 8, "projection_hidden_size": 16, "channel_jitter": 1}
        return dataclasses.replace(super().tiny(), **small | {"affine_probability": 0.0})
