"""Watching a run: which rows are kept out of training, and what a look at them says."""

import dataclasses
import os
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features
from PIL import Image

from hfssl.data.demo.sets import digits
from hfssl.data.images.config import ImageDataConfig
from hfssl.data.images.source import open_images
from hfssl.data.source import Source, fixed_rows, with_rows_held_out
from hfssl.errors import ConfigError
from hfssl.objective import BadRowError
from hfssl.runs.validation import open_monitor
from hfssl.training.loop import train
from hfssl.training.report import validation_line
from tests.support.contract_runs import WithBadRows
from tests.support.laboratory import few_rows, few_rows_with_test, open_small, validation
from tests.support.ranks import Ranks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 digits saved without a second split."""
    path = tmp_path_factory.mktemp("rows") / "digits"
    digits()["train"].select(range(200)).add_column("number", range(200)).save_to_disk(str(path))
    return path


def numbers(source: Source) -> list[int]:
    return source.column_values("number").tolist()


def test_one_row_in_twenty_is_held_out_where_there_is_no_other_split(folder: Path) -> None:
    source = open_images(ImageDataConfig(dataset=str(folder)))
    assert source.test is source.validation is not None
    assert len(source.validation) == 10
    assert sorted(numbers(source) + numbers(source.validation)) == list(range(200))
    assert numbers(source.validation) != list(range(10)), "the first rows of a folder are of one class"
    again = open_images(ImageDataConfig(dataset=str(folder)))
    assert numbers(again.validation) == numbers(source.validation)
    assert again.fingerprint() == source.fingerprint() != source.validation.fingerprint()


def saved(path: Path, *splits: str) -> ImageDataConfig:
    """Digits saved as these splits."""
    rows = digits()["train"]
    parts = {split: rows.select(range(80 * index, 80 * index + 80)) for index, split in enumerate(splits)}
    DatasetDict(parts).save_to_disk(str(path))
    return ImageDataConfig(dataset=str(path))


def test_test_rows_are_scored_and_never_watched(tmp_path: Path) -> None:
    with_both = open_images(saved(tmp_path / "both", "train", "validation", "test"))
    assert (with_both.validation.split, with_both.test.split, len(with_both)) == ("validation", "test", 80)
    with_test = open_images(saved(tmp_path / "test", "train", "test"))
    assert (with_test.validation.split, with_test.test.split, len(with_test)) == ("train (held out)", "test", 72)
    with_validation = open_images(saved(tmp_path / "validation", "train", "validation"))
    assert with_validation.validation is with_validation.test is not None
    with pytest.raises(ConfigError, match=r"validation_share has no effect: .* has the split validation"):
        open_images(dataclasses.replace(saved(tmp_path / "again", "train", "validation"), validation_share=0.1))


def test_splits_whose_classes_have_other_numbers_are_refused(tmp_path: Path) -> None:
    def rows(names: list[str]) -> Dataset:
        features = Features({"image": datasets.Image(), "label": ClassLabel(names=names)})
        return Dataset.from_dict({"image": [Image.new("L", (4, 4))] * 2, "label": [0, 1]}, features=features)

    DatasetDict({"train": rows(["a", "b"]), "test": rows(["b", "a"])}).save_to_disk(str(tmp_path / "set"))
    with pytest.raises(ConfigError, match=r"classes of the splits train and test differ \(\['a', 'b'\] and"):
        open_images(ImageDataConfig(dataset=str(tmp_path / "set")))


def test_the_share_is_the_users(folder: Path) -> None:
    assert len(open_images(ImageDataConfig(dataset=str(folder), validation_share=0.25)).validation) == 50
    assert open_images(ImageDataConfig(dataset=str(folder), validation_share=0.0)).validation is None
    with pytest.raises(ConfigError, match=r"validation_share must be in \[0, 0.5\], got 0.9"):
        ImageDataConfig(validation_share=0.9)


def test_few_rows_are_all_trained_on_and_many_give_at_most_a_thousand() -> None:
    assert with_rows_held_out(few_rows(40), None).test is None
    assert len(with_rows_held_out(few_rows(64), None).test) == 8
    assert len(with_rows_held_out(few_rows(1200), 0.5).test) == 600
    many = with_rows_held_out(dataclasses.replace(few_rows(40), rows=Rows(50_000), all_rows=Rows(50_000)), None)
    assert (len(many), len(many.test)) == (49_000, 1000)


class Rows:
    """So many rows, for counting alone."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def select(self, rows: np.ndarray) -> "Rows":
        return Rows(len(rows))


def test_labels_stay_beside_their_rows_when_some_can_not_be_decoded(tmp_path: Path) -> None:
    opened = open_small("mae", tmp_path)
    samples = opened.rows.pipeline.whole_examples
    opened.rows.pipeline.whole_examples = lambda source: WithBadRows(samples(source))
    monitor = validation(opened).monitor
    good = monitor.voters.good.tolist()
    assert sorted(good) == sorted(set(range(40)) - {3, 7, 30})
    voting = few_rows().part(fixed_rows(40, 1024))
    assert monitor.voters.labels.tolist() == voting.labels()[good].tolist()


def test_a_run_without_labels_is_watched_without_knn_and_one_without_rows_not_at_all(tmp_path: Path) -> None:
    opened = open_small("mae", tmp_path)
    labelled = few_rows_with_test()
    bare = dataclasses.replace(labelled, label_column=None)
    figures = open_monitor(bare, opened.rows).validate(opened.accelerator, opened.objective, opened.layout, 0.0)
    assert figures.keys() == {"validation/loss", "validation/std", "validation/rank_me"}
    assert open_monitor(few_rows(), opened.rows) is None


def test_a_collapsed_encoder_is_said_to_be_one(tmp_path: Path) -> None:
    opened = validation(open_small("mae", tmp_path))
    healthy = opened.monitor.validate(opened.accelerator, opened.objective, opened.layout, 0.0)
    assert opened.collapse_monitor.after_validate(healthy) == {}
    with torch.no_grad():
        opened.objective.model.vit.layernorm.weight.zero_()
        opened.objective.model.vit.layernorm.bias.fill_(1.0)
    collapsed = opened.monitor.validate(opened.accelerator, opened.objective, opened.layout, 0.0)
    assert collapsed["validation/std"] < 1e-6
    (warning,) = opened.collapse_monitor.after_validate(collapsed)["warnings"]
    assert warning.startswith("collapse: features of different rows are nearly equal")


def test_a_held_out_split_of_other_sizes_has_a_data_path_of_its_own(tmp_path: Path) -> None:
    sizes = {"train": [(10, 10)] * 24, "validation": [(9, 14), (12, 7), (10, 10), (30, 20)] * 4}
    for split, shapes in sizes.items():
        for index, shape in enumerate(shapes):
            folder = tmp_path / "images" / split / "ab"[index % 2]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(index).integers(0, 256, (*shape, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
    opened = open_small("mae", tmp_path)
    source = open_images(ImageDataConfig(dataset=str(tmp_path / "images")))
    opened.rows.examples = opened.rows.pipeline.prepare(source)
    assert not opened.rows.pipeline.wants_workers
    monitor = open_monitor(source, opened.rows)
    assert monitor.rows.pipeline.wants_workers, "crops of images that differ in size are taken in the worker"
    assert not opened.rows.pipeline.wants_workers
    figures = monitor.validate(opened.accelerator, opened.objective, opened.layout, 0.0)
    assert figures["validation/loss"] > 0


def test_features_that_are_not_finite_are_said_and_do_not_end_the_run(tmp_path: Path) -> None:
    opened = validation(open_small("mae", tmp_path))
    with torch.no_grad():
        opened.objective.model.vit.layernorm.bias.fill_(torch.nan)
    figures = opened.monitor.validate(opened.accelerator, opened.objective, opened.layout, 0.0)
    assert figures["validation/std"] is figures["validation/rank_me"] is None
    (warning,) = opened.collapse_monitor.after_validate(figures)["warnings"]
    assert "features of validation rows are not finite" in warning
    assert "validation: loss" in validation_line(1, 2, figures)


def test_a_row_that_can_no_longer_be_read_costs_a_look_and_not_the_run(tmp_path: Path) -> None:
    opened = validation(open_small("mae", tmp_path, max_steps=4, evaluate_every=2))
    examples, looks = opened.monitor.samples.examples, []

    class Vanishing:
        def __len__(self) -> int:
            return len(examples)

        def __getitem__(self, index: int) -> torch.Tensor:
            looks.append(index)
            if len(looks) > 40:
                raise BadRowError("is gone")
            return examples[index]

    opened.monitor = dataclasses.replace(
        opened.monitor, samples=dataclasses.replace(opened.monitor.samples, examples=Vanishing())
    )
    assert train(opened) is None
    assert [row["step"] for row in opened.run_dir.validation_rows()] == [0]


def with_bad_rows_on_rank_1(name: str, folder: Path) -> list[list[int]]:
    opened = open_small(name, folder, per_device_batch_size=4)
    samples, prepare = opened.rows.pipeline.whole_examples, opened.rows.pipeline.prepare
    if opened.layout.rank == 1:
        opened.rows.pipeline.whole_examples = lambda source: WithBadRows(samples(source))
        opened.rows.pipeline.prepare = lambda source: WithBadRows(prepare(source))
    monitor = validation(opened).monitor.agreed()
    return [side.tolist() for side in (monitor.samples.good, monitor.voters.good, monitor.good)]


def test_ranks_agree_on_the_rows_that_all_of_them_can_read(tmp_path: Path, ranks: Ranks) -> None:
    first, second = ranks.two(with_bad_rows_on_rank_1, "mae", tmp_path)
    assert first == second
    assert {3, 7, 30}.isdisjoint(first[1])
    assert len(first[1]) == 37
    assert {3, 7}.isdisjoint(first[2])


def validated_in_bf16(name: str, folder: Path) -> dict[str, float]:
    os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16"
    opened = validation(open_small(name, folder))
    assert opened.accelerator.native_amp
    return opened.monitor.validate(opened.accelerator, opened.objective, opened.layout, 0.0)


def test_a_run_in_bf16_is_validated_too(tmp_path: Path, ranks: Ranks) -> None:
    figures = ranks.one(validated_in_bf16, "mae", tmp_path)
    assert 0 <= figures["validation/knn"] <= 1


def test_every_look_sees_the_same_masks_and_crops(tmp_path: Path) -> None:
    opened = validation(open_small("mae", tmp_path))
    looks = [opened.monitor.validate(opened.accelerator, opened.objective, opened.layout, at) for at in (0.0, 0.4, 0.9)]
    assert looks[0] == looks[1] == looks[2]
