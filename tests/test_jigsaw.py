"""Jigsaw puzzles: permutations that are far apart, tiles in the right places, and no shortcut along their edges."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from hfssl.config.parse import parse
from hfssl.data.images.config import ImageDataConfig
from hfssl.errors import ConfigError
from hfssl.methods.jigsaw.config import JigsawConfig
from hfssl.methods.jigsaw.objective import Jigsaw, grid_of, shuffled
from hfssl.methods.jigsaw.permutations import FAMILIES, permutation_set
from hfssl.methods.jigsaw.tiles import Grid, PuzzleDraw, cut_tiles, normalised_tiles
from hfssl.randomness import sample_keys
from tests.support.backbones import SETTINGS
from tests.support.joint_embeddings import objective_of
from tests.support.laboratory import open_small, steps_of
from tests.support.shortcuts import SIZE, noise_rows, tells_more_than_chance

GRID = Grid(side=3, cell=10, tile=8)


def smallest_distance(permutations_PT: Tensor) -> int:
    return min(int((a != b).sum()) for a, b in itertools.combinations(permutations_PT, 2))


@pytest.mark.parametrize(
    ("num_tiles", "count", "distance"),
    [(9, 9, 9), (9, 10, 8), (9, 72, 8), (9, 100, 7), (9, 504, 7), (9, 505, 6), (4, 4, 4), (4, 12, 3), (4, 24, 2)],
)
def test_permutations_are_different_and_far_apart(num_tiles: int, count: int, distance: int) -> None:
    torch.manual_seed(3)
    found_PT = permutation_set(num_tiles, count)
    assert found_PT.shape == (count, num_tiles)
    assert torch.equal(found_PT.sort(dim=1).values, torch.arange(num_tiles).expand(count, -1))
    assert smallest_distance(found_PT) >= distance


def test_the_largest_set_keeps_its_distance() -> None:
    found_PT = permutation_set(9, 1512)
    agreements = torch.nn.functional.one_hot(found_PT, 9).flatten(1).float()
    agreements = agreements @ agreements.T - 9 * torch.eye(1512)
    assert int(agreements.max()) == 3  # 6 of 9 places differ


def test_permutations_come_from_the_seed_and_are_saved(tmp_path: Path) -> None:
    def of(seed: int) -> Tensor:
        return open_small("jigsaw", tmp_path, seed=seed).objective.permutations_PT

    assert torch.equal(of(0), of(0))
    assert not torch.equal(of(0), of(1))
    objective = open_small("jigsaw", tmp_path).objective
    assert torch.equal(objective.state_dict()["permutations_PT"], of(0))
    assert torch.equal(objective.export().heads["permutations_PT"], of(0))


def test_every_permutation_of_a_family_can_be_drawn() -> None:
    drawn = {tuple(permutation_set(4, 4)[0].tolist()) for _ in range(600)}
    assert len(drawn) == 24
    assert {family.size for family in FAMILIES[4]} == {4, 12, 24}


def test_tiles_are_cut_where_a_slow_loop_cuts_them() -> None:
    images = torch.rand(2, 3, 30, 30)
    offsets = torch.randint(0, 3, (2, 9, 3, 2))
    tiles = cut_tiles(images, GRID, offsets)
    for image, tile, channel in itertools.product(range(2), range(9), range(3)):
        top, left = (int(offset) for offset in offsets[image, tile, channel])
        top, left = top + tile // 3 * 10, left + tile % 3 * 10
        assert torch.equal(tiles[image, tile, channel], images[image, channel, top : top + 8, left : left + 8])
    middle = cut_tiles(images, GRID)
    assert torch.equal(middle[1, 5], images[1, :, 11:19, 21:29])


def test_offsets_fill_the_cell_and_channels_move_apart_by_at_most_the_jitter() -> None:
    ids = torch.arange(2000)
    draw = PuzzleDraw(GRID, num_channels=3, channel_jitter=1, num_permutations=7, num_puzzles=2)
    drawn = draw(sample_keys(0, torch.zeros_like(ids), ids))
    offsets, puzzles = drawn["tile_offsets"], drawn["puzzles"]
    assert offsets.shape == (2000, 9, 3, 2)
    assert sorted(offsets.unique().tolist()) == [0, 1, 2]
    assert int((offsets.amax(dim=2) - offsets.amin(dim=2)).max()) == 2
    assert sorted(puzzles.unique().tolist()) == list(range(7))
    assert float((puzzles[:, 0] == puzzles[:, 1]).float().mean()) == pytest.approx(1 / 7, abs=0.03)
    still = PuzzleDraw(GRID, num_channels=3, channel_jitter=0, num_permutations=7, num_puzzles=2)
    offsets = still(sample_keys(0, torch.zeros_like(ids), ids))["tile_offsets"]
    assert int((offsets.amax(dim=2) - offsets.amin(dim=2)).max()) == 0
    shares = [float((offsets == place).float().mean()) for place in range(3)]
    assert shares == pytest.approx([1 / 3] * 3, abs=0.02)


def test_each_tile_is_normalised_by_itself_and_a_flat_one_stays_flat() -> None:
    tiles = torch.rand(2, 9, 3, 8, 8) * torch.rand(2, 9, 3, 1, 1).add(0.5) + torch.rand(2, 9, 3, 1, 1)
    tiles[0, 0] = 0.7
    tiles[0, 1] = 0.7 + 0.002 * torch.randn(3, 8, 8)
    found = normalised_tiles(tiles)
    assert float(found.mean(dim=(-2, -1)).abs().max()) <= 1e-4
    assert not bool(found[0, 0].abs().gt(1e-4).any())
    assert float(found[0, 1].std()) == pytest.approx(0.1, rel=0.3)
    assert torch.allclose(found[1].std(dim=(-2, -1), correction=0), torch.ones(9, 3), atol=1e-4)


def test_loss_equals_a_slow_loop_that_shuffles_the_tiles_themselves(tmp_path: Path) -> None:
    opened = open_small("jigsaw", tmp_path, method={"puzzles_per_image": 3, "grid": 3, "patch_size": 1})
    objective, batch = opened.objective, opened.rows.pipeline.augment(steps_of(opened, 1)[0][0], 0.0)
    assert batch["tiles"].shape[1] == 9
    output = objective(batch, 0.0)
    total = 0.0
    with torch.no_grad():
        for tiles, puzzles in zip(batch["tiles"], batch["puzzles"], strict=True):
            for puzzle in puzzles.tolist():
                seen = torch.stack([tiles[int(tile)] for tile in objective.permutations_PT[puzzle]])
                joined = objective.tile_projection(objective.backbone(seen)).flatten()
                total -= float(log_softmax(objective.classifier(joined), dim=0)[puzzle])
    assert float(output.loss_sum.detach()) == pytest.approx(total, rel=1e-5)
    assert float(output.num_targets) == 3 * len(batch["tiles"])
    assert float(output.metrics["baseline_loss"]) == pytest.approx(math.log(504))


def test_a_right_answer_puts_the_tiles_back() -> None:
    tiles = torch.arange(9).view(1, 9)
    order = permutation_set(9, 9)[4]
    seen = shuffled(tiles, order[None, None])[:, 0]
    assert torch.equal(seen[0], order)
    assert torch.equal(shuffled(seen, order.argsort()[None, None])[:, 0], tiles)


def test_the_picture_shows_what_is_seen_and_the_answer(tmp_path: Path) -> None:
    opened = open_small("jigsaw", tmp_path)
    batch = opened.rows.pipeline.eval_transform([opened.rows.examples[row] for row in range(3)])
    objective = opened.objective.eval()
    (picture,) = objective.illustrate(batch)
    assert picture.cells.shape == (3, 3, 3, 8, 8)
    solved = objective.pretext(batch)
    assert list(picture.captions[2]) == ["right" if right else "wrong" for right in solved.correct["puzzles"].tolist()]


@pytest.mark.parametrize("kind", ["vit", "resnet", "mobilenet_v2", "convnext"])
def test_any_backbone_takes_tiles_and_exports_for_whole_images(kind: str) -> None:
    objective = objective_of("jigsaw", kind if kind in SETTINGS else None, grid=2, num_permutations=4)
    tiles = torch.randn(2, 4, 3, objective.grid.tile, objective.grid.tile)
    output = objective({"tiles": tiles, "puzzles": torch.tensor([[0], [1]])}, 0.0)
    output.loss_sum.backward()
    assert math.isfinite(float(output.loss_sum.detach()))
    assert objective.eval().features({"pixel_values": torch.randn(2, 3, 32, 32)}).shape == (2, objective.backbone.width)


@pytest.mark.parametrize(
    ("settings", "image_size", "said"),
    [
        ({"num_permutations": 25}, 32, "num_permutations must be from 2 to 24 for 2 x 2"),
        ({"grid": 3, "num_permutations": 2000}, 32, "from 2 to 1512"),
        ({"tile_size": 20}, 32, "no room for a tile of 20"),
        ({"tile_size": 7}, 32, "must be a multiple of patch_size 2; the nearest below is 6"),
        ({"patch_size": 16}, 32, "no room for a tile of 16"),
        ({"channel_jitter": -1}, 32, "channel_jitter must be at least 0"),
    ],
)
def test_puzzles_that_can_not_be_are_named(settings: dict[str, int], image_size: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        JigsawConfig(**{"grid": 2, "patch_size": 2} | settings).check(  # type: ignore[arg-type]
            ImageDataConfig(dataset="demo:digits", image_size=image_size)
        )


def test_the_papers_tiles_are_the_default_at_its_size() -> None:
    assert JigsawConfig(patch_size=None).tile_of(225) == 64
    assert JigsawConfig(patch_size=16).tile_of(224) == 48


def edges_and_moments(tiles: Tensor) -> np.ndarray:
    """(N, C, t, t) -> the tile's border pixels, mean and variance of each channel."""
    edges = [tiles[..., 0, :], tiles[..., -1, :], tiles[..., 0], tiles[..., -1]]
    parts = [*edges, tiles.mean(dim=(-2, -1)), tiles.var(dim=(-2, -1))]
    return torch.cat([part.flatten(1) for part in parts], dim=1).double().numpy()


@pytest.mark.parametrize("is_normalised", [True, False])
def test_neither_edges_nor_means_nor_variances_tell_the_place_of_a_tile(is_normalised: bool) -> None:
    """Noise that is brighter and stronger in some cells than in others, the same ones in all images."""
    of_cells = torch.rand(3, 3, generator=torch.Generator().manual_seed(1)).mul(0.5).add(0.6)
    lens = torch.ones(SIZE, SIZE)
    lens[1:31, 1:31] = of_cells.repeat_interleave(10, dim=0).repeat_interleave(10, dim=1)
    pipeline, raw = noise_rows("jigsaw", lens, 1500, grid=3)
    tiles = pipeline.augment(raw, 0.0)["tiles"]
    if not is_normalised:
        whole = super(type(pipeline), pipeline).cut(dict(raw))
        tiles = cut_tiles(whole["global_crops"][:, 0], pipeline.grid, whole["tile_offsets"])
    labels = np.tile(np.arange(9), len(tiles))
    assert tells_more_than_chance(edges_and_moments(tiles.flatten(0, 1)), labels, of_one=9) != is_normalised


@pytest.mark.parametrize("has_gap", [True, False])
def test_edges_of_neighbours_fit_without_a_gap_alone(has_gap: bool) -> None:
    """Is the second tile the right neighbour of the first, or another tile of the image? Asked of how well their facing edges
    agree, on smooth noise; cells of 32 px with tiles of 26 as by default, or of 32."""
    pipeline, raw = noise_rows("jigsaw", torch.ones(96, 96), 200, is_smooth=True, image_size=96, grid=3)
    assert (pipeline.grid.cell, pipeline.grid.tile) == (32, 26)
    tiles = pipeline.augment(raw, 0.0)["tiles"]
    if not has_gap:
        whole = super(type(pipeline), pipeline).cut(dict(raw))
        tiles = normalised_tiles(cut_tiles(whole["global_crops"][:, 0], Grid(3, 32, 32)))
    first = tiles[:, 0, :, :, -1]
    agreements = [(first - tiles[:, tile, :, :, 0]).abs().mean(dim=(1, 2)) for tile in (1, 5)]
    inputs = torch.stack(agreements, dim=1).flatten()[:, None].double().numpy()
    labels = np.tile([1, 0], len(tiles))
    assert tells_more_than_chance(inputs, labels, of_one=2) != has_gap


def test_what_tells_the_place_of_a_tile_is_refused() -> None:
    with pytest.raises(ConfigError, match="affine_probability must be 0: the black corners"):
        parse(JigsawConfig, ImageDataConfig, ["--dataset", "someone/something", "--augmentation", "medical"])
    with pytest.raises(ConfigError, match="no room for a tile of 16 and a gap"):
        JigsawConfig(grid=2, patch_size=2, tile_size=16).check(ImageDataConfig(dataset="demo:digits", image_size=32))


def test_a_grid_of_two_can_be_asked_for_on_the_command_line() -> None:
    run = parse(JigsawConfig, ImageDataConfig, ["--dataset", "someone/something", "--grid", "2"])
    assert isinstance(run.method, JigsawConfig)
    assert (run.method.grid, run.method.permutations) == (2, 24)
    with pytest.raises(ConfigError, match="num_permutations must be from 2 to 1512 for 3 x 3 tiles, got 0"):
        parse(JigsawConfig, ImageDataConfig, ["--dataset", "someone/something", "--num_permutations", "0"])


def test_left_over_pixels_stay_out_on_all_sides_alike() -> None:
    grid = grid_of(JigsawConfig(patch_size=2, grid=3), 32)
    assert (grid.cell, grid.margin) == (10, 1)
    assert grid.corners().tolist()[-1] == [21, 21]


def test_one_channel_has_no_other_to_be_shifted_against() -> None:
    config = JigsawConfig(patch_size=2, grid=2, channel_jitter=5)
    pipeline = Jigsaw.data_pipeline(config, ImageDataConfig(dataset="demo:digits", image_size=32, num_channels=1), None)
    ids = torch.arange(4000)
    drawn = pipeline._draw(sample_keys(0, ids * 0, ids))["tile_offsets"]
    shares = torch.bincount(drawn.flatten()).double() / drawn.numel()
    assert len(shares) == pipeline.grid.slack + 1
    assert float((shares - 1 / len(shares)).abs().max()) <= 0.01
