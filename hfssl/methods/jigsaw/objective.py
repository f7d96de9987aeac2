"""Jigsaw puzzles: the network sees the tiles of an image in another order, one by one, and says which order it was.

Noroozi & Favaro 2016, "Unsupervised learning of visual representations by solving jigsaw puzzles", arXiv 1603.09246: one
network for all tiles, whose features are joined in the shuffled order and classified among a fixed set of permutations
that differ in many places (section 3.2), with the precautions of section 3.3 (`data.tiles`).

B images, T tiles, P permutations, Q puzzles per image, D width, E width of a tile in the head.

Where we differ from the paper:
- permutations come from a group (`nn.permutations`), which bounds the smallest distance, not from a greedy random search.
- the features of a tile do not know the order, so that they are shuffled in place of the tiles: several puzzles per image
  cost one pass through the backbone.
- the backbone is exported for whole images, which it never saw: it was trained on tiles of mean 0 and deviation 1, and so were
  the running moments of its BatchNorms; a ViT's position embeddings are resized to a tile's.

    hfssl jigsaw --dataset path/to/images
"""

import math

import torch
from torch import Tensor, nn
from transformers import ViTImageProcessor

from hfssl.data.images.config import ImageDataConfig
from hfssl.data.images.views import ViewsPipeline
from hfssl.data.source import Source
from hfssl.errors import ConfigError
from hfssl.methods.jigsaw.config import JigsawConfig
from hfssl.methods.jigsaw.permutations import permutation_set
from hfssl.methods.jigsaw.tiles import Grid, PuzzleDraw, cut_tiles, normalised_tiles
from hfssl.methods.vision_objective import VisionObjective, by_image
from hfssl.models.backbone import Backbone
from hfssl.nn.cross_entropy import summed_cross_entropy
from hfssl.nn.precision import to_float32
from hfssl.objective import Batch, Diagnosis, Picture, Pretext, StepOutput

_PICTURED_IMAGES = 8


class JigsawPipeline(ViewsPipeline):
    """One augmented crop of each image cut up: `tiles` (B, T, C, t, t), in their true order."""

    def __init__(self, config: JigsawConfig, data: ImageDataConfig) -> None:
        self.grid = grid_of(config, data.image_size)
        jitter = config.channel_jitter if data.num_channels > 1 else 0
        draw = PuzzleDraw(self.grid, data.num_channels, jitter, config.permutations, config.puzzles_per_image)
        super().__init__(data, config.views(data.image_size), draw=draw)

    def cut(self, batch: Batch) -> Batch:
        cut = super().cut(batch)
        tiles = cut_tiles(cut.pop("global_crops")[:, 0], self.grid, cut.pop("tile_offsets"))
        return cut | {"tiles": normalised_tiles(tiles)}


class Jigsaw(VisionObjective[JigsawConfig]):
    permutations_PT: Tensor

    def __init__(self, config: JigsawConfig, backbone: Backbone, processor: ViTImageProcessor) -> None:
        super().__init__(config, backbone, processor)
        self.grid = grid_of(config, processor.size["height"])
        _require_tiles(backbone, self.grid)
        num_tiles, hidden = self.grid.num_tiles, config.projection_hidden_size
        self.tile_projection = nn.Sequential(nn.Linear(backbone.width, config.projection_size), nn.ReLU())
        self.classifier = nn.Sequential(
            nn.Linear(num_tiles * config.projection_size, hidden), nn.ReLU(), nn.Linear(hidden, config.permutations)
        )
        self.register_buffer("permutations_PT", permutation_set(num_tiles, config.permutations))

    @classmethod
    def data_pipeline(cls, config: JigsawConfig, data: ImageDataConfig, source: Source | None) -> JigsawPipeline:
        return JigsawPipeline(config, data)

    def forward(self, batch: Batch, progress: float) -> StepOutput:
        puzzles_BQ = batch["puzzles"]
        logits_BQP = to_float32(self._logits(batch["tiles"], puzzles_BQ))
        loss_sum = summed_cross_entropy(logits_BQP.flatten(0, 1), puzzles_BQ.flatten())
        metrics = {
            "accuracy": (logits_BQP.detach().argmax(dim=2) == puzzles_BQ).float().mean(),
            "baseline_loss": torch.full_like(loss_sum.detach(), math.log(len(self.permutations_PT))),
        }
        return StepOutput(loss_sum, torch.full_like(loss_sum, float(puzzles_BQ.numel())), metrics)

    def _logits(self, tiles: Tensor, puzzles_BQ: Tensor) -> Tensor:
        """(B, T, C, t, t) tiles in their true order, each puzzle's permutation -> (B, Q, P)."""
        projected_BTE = self.tile_projection(by_image(self.backbone, tiles))
        logits_BQP: Tensor = self.classifier(shuffled(projected_BTE, self.permutations_PT[puzzles_BQ]).flatten(2))
        return logits_BQP

    def diagnoses(self) -> dict[str, Diagnosis]:
        hard = "the puzzles are too hard for these images, or the learning rate is too high or too low"
        return {
            "baseline_loss": Diagnosis(
                hard, "lower --num_permutations or take --grid 2, then look at --base_learning_rate"
            )
        }

    @torch.no_grad()
    def pretext(self, batch: Batch) -> Pretext:
        answers_BQ = self._answers(self._whole_tiles(batch), batch["puzzles"])
        correct_B = (answers_BQ == batch["puzzles"]).float().mean(dim=1)
        return Pretext({"puzzles": correct_B}, chance=1 / len(self.permutations_PT))

    def _whole_tiles(self, batch: Batch) -> Tensor:
        return normalised_tiles(cut_tiles(batch["pixel_values"], self.grid))

    def _answers(self, tiles: Tensor, puzzles_BQ: Tensor) -> Tensor:
        return self._logits(tiles, puzzles_BQ).argmax(dim=2)

    @torch.no_grad()
    def illustrate(self, batch: Batch) -> list[Picture]:
        """Images, their tiles as the network sees them, and the tiles put where its answer has them."""
        batch = {name: tensor[:_PICTURED_IMAGES] for name, tensor in batch.items()}
        tiles, puzzles_BQ = self._whole_tiles(batch), batch["puzzles"][:, :1]
        answers_BQ = self._answers(tiles, puzzles_BQ)
        orders_BT, answered_BT = (self.permutations_PT[chosen[:, 0]] for chosen in (puzzles_BQ, answers_BQ))
        seen = shuffled(tiles, orders_BT[:, None])[:, 0]
        put_back = shuffled(seen, answered_BT.argsort(dim=1)[:, None])[:, 0]
        pictured = [(part / 4 + 0.5).clamp(0, 1).float().cpu() for part in (seen, put_back)]
        cells = torch.stack([self._board(part) for part in (self._shown_tiles(batch), *pictured)])
        right = ["right" if same else "wrong" for same in (puzzles_BQ == answers_BQ)[:, 0].tolist()]
        captions = [[""] * len(right), [""] * len(right), right]
        return [Picture("puzzles", ["original", "seen", "put back"], cells, captions)]

    def _shown_tiles(self, batch: Batch) -> Tensor:
        return self.shown(cut_tiles(batch["pixel_values"], self.grid))

    def _board(self, tiles: Tensor) -> Tensor:
        """(B, T, C, t, t) tiles on white cells; (B, C, S, S)."""
        size = self._processor.size["height"]
        board = tiles.new_ones(len(tiles), tiles.shape[2], size, size)
        margin = self.grid.slack // 2
        for tile, (top, left) in enumerate(self.grid.corners().tolist()):
            rows, columns = (slice(start + margin, start + margin + self.grid.tile) for start in (top, left))
            board[:, :, rows, columns] = tiles[:, tile]
        return board


def grid_of(config: JigsawConfig, image_size: int) -> Grid:
    """How images of this size are cut; pixels that are left over stay out on all sides alike."""
    cell = image_size // config.grid
    return Grid(config.grid, cell, config.tile_of(image_size), margin=(image_size - config.grid * cell) // 2)


def _require_tiles(backbone: Backbone, grid: Grid) -> None:
    try:
        backbone.require_size(grid.tile)
    except ConfigError as error:
        remedy = "raise --image_size, lower --grid, or set --tile_size"
        raise ConfigError(f"this backbone does not take tiles of {grid.tile} pixels ({error}): {remedy}") from error


def shuffled(tiles: Tensor, orders_BQT: Tensor) -> Tensor:
    """(B, T, ...) -> (B, Q, T, ...): at place t of a puzzle stands tile `order[t]`."""
    return tiles[torch.arange(len(tiles), device=tiles.device)[:, None, None], orders_BQT]
