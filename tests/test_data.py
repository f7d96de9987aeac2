"""From a folder, a table or a saved set to batches: columns, bad rows, caches, sizes."""

import pickle
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2.functional import InterpolationMode, resize

from hfssl.data.images.cache import CachedImages, cached
from hfssl.data.images.config import ImageDataConfig
from hfssl.data.images.pipeline import ImagePipeline
from hfssl.data.images.source import open_images
from hfssl.data.loader import KeyedDataset
from hfssl.errors import ConfigError
from hfssl.objective import BadRowError


def write_images(folder: Path, sizes: list[tuple[int, int]]) -> None:
    generator = np.random.default_rng(0)
    for index, size in enumerate(sizes):
        target = folder / "ab"[index % 2]
        target.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)).save(target / f"{index}.png")


def spec_for(data: ImageDataConfig) -> ImagePipeline:
    return ImagePipeline(data, crop_scale=(0.2, 1.0), horizontal_flip=True, draw=lambda keys_B: {})


def batch_of(rows: KeyedDataset, ids: list[int], epoch: int = 0) -> dict[str, torch.Tensor]:
    return rows.__getitems__((torch.full((len(ids),), epoch), torch.tensor(ids)))


def test_a_folder_a_table_and_a_saved_set_give_the_same_rows(tmp_path: Path) -> None:
    write_images(tmp_path / "folder", [(12, 12)] * 6)
    opened = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "folder"))["train"]
    opened.save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "table").mkdir()
    opened.to_parquet(str(tmp_path / "table" / "train.parquet"))
    sources = [open_images(ImageDataConfig(dataset=str(tmp_path / name))) for name in ("folder", "saved", "table")]
    for source in sources:
        assert len(source) == 6
        assert source.labels().tolist() == [0, 0, 0, 1, 1, 1]
    images = [cached(source, num_channels=3, image_size=12) for source in sources]
    assert all(torch.equal(images[0][row], other[row]) for other in images[1:] for row in range(6))


def table(tmp_path: Path, columns: dict[str, Any], features: datasets.Features) -> str:
    path = str(tmp_path / "table")
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(path)
    return path


def test_a_table_of_paths_is_read_relative_to_its_folder(tmp_path: Path) -> None:
    write_images(tmp_path, [(12, 12)] * 4)
    rows = [f"{'ab'[index % 2]}/{index}.png,{index % 2}" for index in range(4)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    source = open_images(ImageDataConfig(dataset=str(tmp_path / "list.csv"), label_column="label"))
    images = cached(source, num_channels=3, image_size=12)
    assert images is not None
    assert images.bad_rows == {}
    assert source.labels().tolist() == [0, 1, 0, 1]


def test_a_broken_table_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken.jsonl").write_text('{"image": 1}\n{"image": [}\n')
    with pytest.raises(ConfigError, match=r"broken\.jsonl, line 2, is not JSON: Expecting value") as caught:
        open_images(ImageDataConfig(dataset=str(tmp_path / "broken.jsonl")))
    assert "\n" not in str(caught.value)


def test_withheld_labels_are_no_labels_and_a_labelled_split_is_preferred(tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    image = Image.new("RGB", (8, 8))
    splits = {"train": [0, 1], "test": [-1, -1], "validation": [1, 0]}
    made = {
        name: datasets.Dataset.from_dict({"image": [image] * 2, "label": labels}, features=features)
        for name, labels in splits.items()
    }
    datasets.DatasetDict(made).save_to_disk(str(tmp_path))
    source = open_images(ImageDataConfig(dataset=str(tmp_path)))
    assert source.test is not None
    assert source.test.split == "validation"
    assert open_images(ImageDataConfig(dataset=str(tmp_path), split="test")).labels() is None


def test_a_damaged_cache_is_made_anew(tmp_path: Path) -> None:
    write_images(tmp_path, [(12, 12)] * 4)
    source = open_images(ImageDataConfig(dataset=str(tmp_path)))
    first = cached(source, num_channels=3, image_size=12)
    assert first is not None
    before = [first[row].clone() for row in range(4)]
    pixels = first._folder / "pixels.u8"
    pixels.write_bytes(pixels.read_bytes()[:100])
    again = cached(source, num_channels=3, image_size=12)
    assert again is not None
    assert all(torch.equal(again[row], before[row]) for row in range(4))


def test_rows_can_be_sent_to_a_spawned_worker(tmp_path: Path) -> None:
    from hfssl.methods.mae.config import MAEConfig
    from hfssl.methods.mae.objective import MAE

    data = ImageDataConfig.tiny()
    pipeline = MAE.data_pipeline(MAEConfig.tiny(), data, None)
    rows = KeyedDataset(pipeline.prepare(open_images(data)), pipeline, seed=0)
    sent = pickle.dumps(rows)
    assert len(sent) < 100_000
    one, other = batch_of(rows, [1, 2]), batch_of(pickle.loads(sent), [1, 2])
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_columns_are_found_by_type_else_named(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 8))
    both = datasets.Features({"left": datasets.Image(), "right": datasets.Image(), "note": datasets.Value("string")})
    path = table(tmp_path, {"left": [image], "right": [image], "note": ["x"]}, both)
    with pytest.raises(ConfigError, match=r"several columns fit \(left, right\).*--image_column"):
        open_images(ImageDataConfig(dataset=path))
    assert open_images(ImageDataConfig(dataset=path, image_column="right")).column == "right"
    with pytest.raises(ConfigError, match="is not a column; there are: left"):
        open_images(ImageDataConfig(dataset=path, image_column="middle"))
    with pytest.raises(ConfigError, match="--split best is not in"):
        open_images(ImageDataConfig(dataset=path, split="best"))


def test_arrays_of_six_channels_train(tmp_path: Path) -> None:
    features = datasets.Features({"stack": datasets.Array3D(shape=(10, 10, 6), dtype="uint8")})
    arrays = np.random.default_rng(0).integers(0, 256, (4, 10, 10, 6), dtype=np.uint8)
    data = ImageDataConfig(dataset=table(tmp_path, {"stack": list(arrays)}, features), image_size=8, num_channels=6)
    pipeline = spec_for(data)
    rows = KeyedDataset(pipeline.prepare(open_images(data)), pipeline, seed=0)
    batch = pipeline.augment(batch_of(rows, [0, 1]), 0.0)
    assert batch["pixel_values"].shape == (2, 6, 8, 8)
    assert pipeline.eval_transform([rows.examples[0]])["pixel_values"].shape == (1, 6, 8, 8)


@pytest.mark.parametrize("sizes", [[(12, 12)] * 4, [(12, 20), (30, 12), (12, 12), (40, 41)]])
def test_batches_are_crops_of_the_images_and_the_same_without_the_cache(
    sizes: list[tuple[int, int]], tmp_path: Path
) -> None:
    write_images(tmp_path, sizes)
    batches = []
    for cache in ("auto", "never"):
        data = ImageDataConfig(dataset=str(tmp_path), image_size=40, cache=cache)
        pipeline = spec_for(data)
        rows = KeyedDataset(pipeline.prepare(open_images(data)), pipeline, seed=0)
        assert pipeline.wants_workers == (len(set(sizes)) > 1 or cache == "never")
        batches.append(pipeline.augment(batch_of(rows, [3, 1, 2]), 0.0)["pixel_values"])
    assert batches[0].shape == (3, 3, 40, 40)
    difference = (batches[0] - batches[1]).abs()  # torchvision rounds and clamps to uint8 between its two passes
    assert float(difference.mean()) < 2 / 255


def test_a_large_image_is_cached_at_one_and_a_half_times_the_working_size(tmp_path: Path) -> None:
    write_images(tmp_path, [(80, 120), (90, 90), (20, 20)])
    images = cached(open_images(ImageDataConfig(dataset=str(tmp_path))), num_channels=3, image_size=32)
    assert isinstance(images, CachedImages)
    assert sorted(tuple(images[row].shape[1:]) for row in range(3)) == [(20, 20), (48, 48), (48, 72)]


def test_eval_transform_is_what_the_processor_gives_a_stranger(tmp_path: Path) -> None:
    data = ImageDataConfig(dataset="demo:digits", image_size=16, pixel_mean=(0.2, 0.3, 0.4), pixel_std=(0.5, 0.6, 0.7))
    pipeline = spec_for(data)
    image = torch.randint(0, 256, (3, 11, 13), dtype=torch.uint8)
    ours = pipeline.eval_transform([image])["pixel_values"][0]
    resized = resize(image, [16, 16], InterpolationMode.BICUBIC, antialias=True).float() / 255
    expected = (resized - torch.tensor([0.2, 0.3, 0.4])[:, None, None]) / torch.tensor([0.5, 0.6, 0.7])[:, None, None]
    assert float((ours - expected).abs().max()) < 1e-5


def test_bad_rows_are_replaced_by_keyed_good_ones(tmp_path: Path) -> None:
    write_images(tmp_path, [(12, 12)] * 8)
    (tmp_path / "a" / "0.png").write_text("no image")
    whole = (tmp_path / "a" / "2.png").read_bytes()
    (tmp_path / "a" / "2.png").write_bytes(whole[: len(whole) // 2])
    found = []
    for cache in ("auto", "never"):
        data = ImageDataConfig(dataset=str(tmp_path), image_size=12, cache=cache)
        pipeline = spec_for(data)
        rows = KeyedDataset(pipeline.prepare(open_images(data)), pipeline, seed=0)
        batches = [batch_of(rows, [0, 1, 2, 3], epoch) for epoch in range(6)]
        assert all(set(batch["bad_ids"].tolist()) >= {0, 1} for batch in batches)
        assert all(not {0, 1} & set(batch["sample_ids"].tolist()) for batch in batches)
        found.append([batch["sample_ids"].tolist() for batch in batches])
    assert found[0] == found[1]
    assert len({tuple(ids) for ids in found[0]}) > 1


def test_a_folder_of_bad_rows_alone_is_refused(tmp_path: Path) -> None:
    for name in ("one.jpg", "two.jpg"):
        (tmp_path / name).write_text("no image")
    data = ImageDataConfig(dataset=str(tmp_path), image_size=12)
    with pytest.raises(ConfigError, match="none of the 2 images can be decoded"):
        spec_for(data).prepare(open_images(data))


def test_a_row_without_a_good_replacement_ends_the_search() -> None:
    class NoneGood:
        def __len__(self) -> int:
            return 5

        def __getitem__(self, index: int) -> Any:
            raise BadRowError("broken")

    rows = KeyedDataset(NoneGood(), spec_for(ImageDataConfig.tiny()), seed=0)
    with pytest.raises(BadRowError, match="100 rows in a row"):
        batch_of(rows, [0])
