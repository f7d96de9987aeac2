"""Groups of views of real rows: shapes, keys, both ways of cropping, and what a method may rely on."""

import pickle
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import InterpolationMode, horizontal_flip, vertical_flip
from torchvision.transforms.v2.functional import resized_crop as reference_crop

from hfssl.data.images.augmentation import view_keys
from hfssl.data.images.augmentation_config import PRESETS, Augmentation, View
from hfssl.data.images.config import ImageDataConfig
from hfssl.data.images.source import open_images
from hfssl.data.images.views import ViewsPipeline, _drawn_crops
from hfssl.data.images.views_config import MultiCropConfig
from hfssl.data.loader import BatchLayout, KeyedDataset, micro_batches
from hfssl.errors import ConfigError
from tests.support.ranks import Ranks

CROPPED = Augmentation(crop_scale=(0.2, 1.0), horizontal_flip_probability=0.5, vertical_flip_probability=0.5)
EQUAL, UNEQUAL = [(48, 48)] * 8, [(48, 60), (70, 48), (50, 50), (90, 91)] * 2


def write_smooth_images(folder: Path, sizes: list[tuple[int, int]]) -> str:
    """Gentle waves, so that rounding and clipping between the passes of a resize stay small."""
    folder.mkdir(exist_ok=True)
    for index, (height, width) in enumerate(sizes):
        rows, columns = np.mgrid[0:height, 0:width]
        waves = [np.sin((index + 1 + channel) * rows / 17 + columns / (9 + channel)) for channel in range(3)]
        Image.fromarray((128 + 80 * np.stack(waves, axis=2)).astype(np.uint8)).save(folder / f"{index}.png")
    return str(folder)


def rows_of(dataset: str, *, groups: dict[str, list[View]], seed: int = 0, **settings: object) -> KeyedDataset:
    data = ImageDataConfig(dataset=dataset, validation_share=0.0, **{"image_size": 32} | settings)  # type: ignore[arg-type]
    pipeline = ViewsPipeline(data, groups)
    return KeyedDataset(pipeline.prepare(open_images(data)), pipeline, seed)


def views_of(rows: KeyedDataset, ids: list[int], epoch: int = 0) -> dict[str, Tensor]:
    return rows.pipeline.augment(rows.__getitems__((torch.full((len(ids),), epoch), torch.tensor(ids))), 0.0)


@pytest.mark.parametrize("sizes", [EQUAL, UNEQUAL])
def test_each_group_is_a_normalised_tensor_beside_ids_and_keys(sizes: list[tuple[int, int]], tmp_path: Path) -> None:
    groups = MultiCropConfig(augmentation="small", num_local_crops=3, local_crop_size=16).views(32)
    dataset = write_smooth_images(tmp_path / "images", sizes)
    rows = rows_of(dataset, groups=groups, pixel_mean=(0.2, 0.3, 0.4), pixel_std=(0.5, 0.6, 0.7))
    batch = views_of(rows, [0, 1, 2, 3, 4])
    assert batch.keys() == {"global_crops", "local_crops", "sample_ids", "keys", "bad_ids"}
    assert batch["global_crops"].shape == (5, 2, 3, 32, 32)
    assert batch["local_crops"].shape == (5, 3, 3, 16, 16)
    assert batch["global_crops"].dtype == torch.float32
    mean, std = torch.tensor([0.2, 0.3, 0.4])[:, None, None], torch.tensor([0.5, 0.6, 0.7])[:, None, None]
    pixels = batch["global_crops"] * std + mean
    assert float(pixels.min()) >= -1e-6
    assert float(pixels.max()) <= 1 + 1e-6
    assert rows.pipeline.wants_workers == (sizes == UNEQUAL)
    assert rows.pipeline.data_path == "cached"
    whole = rows.pipeline.eval_transform([rows.examples[0], rows.examples[1]])
    assert whole["pixel_values"].shape == (2, 3, 32, 32)


@pytest.mark.parametrize("sizes", [EQUAL, UNEQUAL])
def test_views_equal_torchvisions_crops_of_the_same_boxes(sizes: list[tuple[int, int]], tmp_path: Path) -> None:
    views = [View(32, CROPPED)] * 2
    rows = rows_of(write_smooth_images(tmp_path / "images", sizes), groups={"global_crops": views})
    batch = views_of(rows, list(range(8)))
    for row in range(8):
        image = rows.examples[row]
        keys = view_keys(batch["keys"][row : row + 1], "global_crops", 2)
        drawn = _drawn_crops(views, keys, image.shape[-2:])
        for view in range(2):
            box = drawn["boxes"][0, view].tolist()
            expected = reference_crop(image / 255, *box, [32, 32], InterpolationMode.BICUBIC, antialias=True)
            expected = horizontal_flip(expected) if drawn["flips"][0, view] else expected
            expected = vertical_flip(expected) if drawn["vertical_flips"][0, view] else expected
            pixels = batch["global_crops"][row, view] * 0.5 + 0.5
            assert float((pixels - expected).abs().max()) <= 2 / 255


def test_cropping_on_the_device_and_in_the_worker_agree(tmp_path: Path) -> None:
    dataset = write_smooth_images(tmp_path / "images", EQUAL)
    plain = {"global_crops": [View(32, CROPPED)] * 2, "local_crops": [View(16, CROPPED)] * 3}
    together, apart = (rows_of(dataset, groups=plain, cache=cache) for cache in ("auto", "never"))
    ours, theirs = views_of(together, [3, 1, 2]), views_of(apart, [3, 1, 2])
    assert together.pipeline.wants_workers != apart.pipeline.wants_workers
    for name in plain:
        assert float((ours[name] - theirs[name]).abs().max()) * 0.5 <= 2 / 255
    full = {"global_crops": [View(32, PRESETS["natural"])] * 2}
    together, apart = (rows_of(dataset, groups=full, cache=cache) for cache in ("auto", "never"))
    difference = views_of(together, [3, 1, 2])["global_crops"] - views_of(apart, [3, 1, 2])["global_crops"]
    assert float(difference.abs().mean()) * 0.5 <= 2 / 255


def test_views_follow_the_sample_and_nothing_else(tmp_path: Path) -> None:
    groups = MultiCropConfig(augmentation="natural", num_local_crops=2, local_crop_size=24).views(32)
    rows = rows_of(write_smooth_images(tmp_path / "images", UNEQUAL), groups=groups)
    together = views_of(rows, [0, 1, 2, 3])
    for name in groups:
        apart = torch.cat([views_of(rows, ids)[name] for ids in ([0, 1], [2, 3])])
        assert float((apart - together[name]).abs().max()) <= 1e-5
        turned = views_of(rows, [3, 2, 1, 0])[name].flip(0)
        assert torch.equal(turned, together[name])
        assert not torch.equal(views_of(rows, [0, 1, 2, 3], epoch=1)[name], together[name])
    first, second = together["global_crops"].unbind(dim=1)
    assert bool(((first - second).abs().flatten(1).max(dim=1).values > 0.05).all())
    other = rows_of(write_smooth_images(tmp_path / "images", UNEQUAL), groups=groups, seed=1)
    assert not torch.equal(views_of(other, [0, 1, 2, 3])["global_crops"], together["global_crops"])


def sums_of_run(
    rows: KeyedDataset, per_device: int, rank: int = 0, world_size: int = 1, num_workers: int = 0
) -> list[Tensor]:
    """A fingerprint of each sample's views over two steps of this rank, in the order of positions."""
    layout = BatchLayout(8, per_device, rank, world_size)
    batches = micro_batches(rows, layout, start_step=0, max_steps=2, num_workers=num_workers, pin_memory=False)
    return [rows.pipeline.augment(batch, 0.0)["global_crops"].double().sum(dim=(2, 3, 4)) for batch in batches]


def sums_of_rank(dataset: str) -> Tensor:
    torch.distributed.init_process_group("gloo")
    assert torch.distributed.get_world_size() == 2
    groups = {"global_crops": [View(32, PRESETS["natural"])] * 2}
    rows = rows_of(dataset, groups=groups)
    return torch.stack(sums_of_run(rows, 2, torch.distributed.get_rank(), 2))


def test_views_are_the_same_for_any_workers_ranks_and_accumulation(tmp_path: Path, ranks: Ranks) -> None:
    dataset = write_smooth_images(tmp_path / "images", UNEQUAL)
    rows = rows_of(dataset, groups={"global_crops": [View(32, PRESETS["natural"])] * 2})
    whole = torch.cat(sums_of_run(rows, 8))
    for others in (sums_of_run(rows, 2), sums_of_run(rows, 4, num_workers=2)):
        assert torch.allclose(torch.cat(others), whole, rtol=0, atol=1e-3)
    both = ranks.two(sums_of_rank, dataset)
    shared = torch.stack(both, dim=1).flatten(0, 2)  # micro-batch, rank, sample
    assert torch.allclose(shared, whole, rtol=0, atol=1e-3)


def test_six_channels_and_one_are_augmented(tmp_path: Path) -> None:
    for num_channels in (1, 6):
        features = datasets.Features({"stack": datasets.Array3D(shape=(24, 24, num_channels), dtype="uint8")})
        arrays = np.random.default_rng(0).integers(0, 256, (4, 24, 24, num_channels), dtype=np.uint8)
        path = str(tmp_path / f"table{num_channels}")
        datasets.Dataset.from_dict({"stack": list(arrays)}, features=features).save_to_disk(path)
        groups = {"global_crops": [View(24, PRESETS["grey"]), View(24, PRESETS["medical"])]}
        rows = rows_of(path, groups=groups, image_size=24, num_channels=num_channels)
        assert views_of(rows, [0, 1, 2])["global_crops"].shape == (3, 2, num_channels, 24, 24)
        with pytest.raises(ConfigError, match="has no effect on"):
            rows_of(path, groups={"a": [View(24, PRESETS["natural"])]}, image_size=24, num_channels=num_channels)


def test_views_larger_than_the_image_are_enlarged_and_their_sizes_must_agree() -> None:
    rows = rows_of("demo:digits", groups={"global_crops": [View(20, PRESETS["digits"])] * 2})
    assert views_of(rows, [0, 1])["global_crops"].shape == (2, 2, 3, 20, 20)
    with pytest.raises(ConfigError, match=r"the views of crops must have one size, got \[16, 20\]"):
        rows_of("demo:digits", groups={"crops": [View(20, CROPPED), View(16, CROPPED)]})


def test_digits_are_never_mirrored_in_any_view() -> None:
    views = [View(16, PRESETS["digits"])] * 2
    keys = view_keys(torch.arange(2000), "global_crops", 2)
    drawn = _drawn_crops(views, keys, (8, 8))
    assert not bool(drawn["flips"].any() | drawn["vertical_flips"].any())
    natural = _drawn_crops([View(16, PRESETS["natural"])] * 2, keys, (8, 8))["flips"].double()
    assert abs(float(natural.mean()) - 0.5) < 0.03
    assert abs(float(torch.corrcoef(natural.T)[0, 1])) < 0.06


def test_views_keep_full_precision_under_autocast() -> None:
    rows = rows_of("demo:digits", groups={"global_crops": [View(20, PRESETS["grey"])] * 2})
    expected = views_of(rows, [0, 1])["global_crops"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(views_of(rows, [0, 1])["global_crops"], expected)


def test_the_rows_of_views_can_be_sent_to_a_spawned_worker() -> None:
    rows = rows_of("demo:digits", groups={"global_crops": [View(20, PRESETS["digits"])] * 2})
    sent = pickle.loads(pickle.dumps(rows))
    assert torch.equal(views_of(sent, [4, 5])["global_crops"], views_of(rows, [4, 5])["global_crops"])
