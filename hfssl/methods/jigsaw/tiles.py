"""Tiles of an image for jigsaw puzzles, without what gives their place away. B images, T tiles, C channels, S pixels a side.

Noroozi & Favaro 2016, arXiv 1603.09246, section 3.3: tiles leave a gap to each other and sit anywhere in their cell, so that
edges do not fit; each is normalised by itself, so that means and contrasts do not match; the channels of a colour image are
shifted against each other, since lenses bend colours more the farther from the centre.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hfssl.randomness import uniform

_FLAT = 0.02  # deviation of normalised pixels below which noise is not blown up: two grey levels at a pixel_std of 0.5


@dataclass(frozen=True)
class Grid:
    """side: tiles in a row, so T = side^2; cell: pixels a side that each has for itself; tile: pixels of it that are seen;
    margin: pixels above and to the left of the first cell."""

    side: int
    cell: int
    tile: int
    margin: int = 0

    @property
    def num_tiles(self) -> int:
        return self.side**2

    @property
    def slack(self) -> int:
        """Pixels by which a tile can move in its cell."""
        return self.cell - self.tile

    def corners(self) -> Tensor:
        """(T, 2) int64: top and left of each cell, row by row."""
        places = self.margin + torch.arange(self.side) * self.cell
        return torch.cartesian_prod(places, places)


@dataclass(frozen=True)
class PuzzleDraw:
    """Draws for each sample `tile_offsets` (B, T, C, 2), places of the channels of a tile in its cell, and `puzzles`
    (B, num_puzzles), numbers of permutations; int64."""

    grid: Grid
    num_channels: int
    channel_jitter: int
    num_permutations: int
    num_puzzles: int

    def __call__(self, keys_B: Tensor) -> dict[str, Tensor]:
        num_tiles, slack, jitter = self.grid.num_tiles, self.grid.slack, self.channel_jitter
        offsets = _integers(keys_B, "tile", 2 * num_tiles, slack + 1).view(-1, num_tiles, 1, 2)
        shifts = _integers(keys_B, "channel", 2 * num_tiles * self.num_channels, 2 * jitter + 1) - jitter
        shifts = shifts.view(-1, num_tiles, self.num_channels, 2)
        return {
            "tile_offsets": (offsets + shifts).clamp(0, slack),
            "puzzles": _integers(keys_B, "puzzle", self.num_puzzles, self.num_permutations),
        }


def _integers(keys_B: Tensor, stream: str, count: int, below: int) -> Tensor:
    """(B, count) int64 in [0, below)."""
    return (uniform(keys_B, stream, count) * below).floor().to(torch.int64).clamp(max=below - 1)


def cut_tiles(images: Tensor, grid: Grid, offsets: Tensor | None = None) -> Tensor:
    """(B, C, S, S) -> (B, T, C, t, t): the tile of each cell, row by row, at `offsets` (B, T, C, 2), or in its middle."""
    num_images, num_channels = images.shape[:2]
    if offsets is None:
        middle = torch.full((1, 1, 1, 2), grid.slack // 2, device=images.device)
        offsets = middle.expand(num_images, grid.num_tiles, num_channels, 2)
    starts = offsets + grid.corners().to(images.device)[:, None]
    inside = torch.arange(grid.tile, device=images.device)
    rows, columns = (starts[..., axis, None] + inside for axis in (0, 1))  # (B, T, C, t)
    which = torch.arange(num_images, device=images.device).view(-1, 1, 1, 1, 1)
    channel = torch.arange(num_channels, device=images.device).view(1, 1, -1, 1, 1)
    return images[which, channel, rows[..., :, None], columns[..., None, :]]


def normalised_tiles(tiles: Tensor) -> Tensor:
    """Each channel of each tile with mean 0 and standard deviation 1; one that is almost flat keeps its faintness."""
    variances, means = torch.var_mean(tiles, dim=(-2, -1), correction=0, keepdim=True)
    return (tiles - means) / variances.sqrt().clamp(min=_FLAT)
