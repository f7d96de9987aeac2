"""Watching a run: which rows are kept out of training, and what a look at them says."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hfssl.config import ConfigError
from hfssl.data.demo import digits
from hfssl.data.image import open_images
from hfssl.data.image_config import ImageDataConfig
from hfssl.data.source import Source, with_rows_held_out
from hfssl.session import open_monitor
from tests.contract import WithBadRows
from tests.laboratory import few_rows, few_rows_with_others_held_out, open_small, watched


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
    assert source.held_out is not None
    assert len(source.held_out) == 10
    assert sorted(numbers(source) + numbers(source.held_out)) == list(range(200))
    assert numbers(source.held_out) != list(range(10)), "the first rows of a folder are of one class"
    again = open_images(ImageDataConfig(dataset=str(folder)))
    assert numbers(again.held_out) == numbers(source.held_out)
    assert again.fingerprint() == source.fingerprint() != source.held_out.fingerprint()


def test_the_share_is_the_users(folder: Path) -> None:
    assert len(open_images(ImageDataConfig(dataset=str(folder), held_out_share=0.25)).held_out) == 50
    assert open_images(ImageDataConfig(dataset=str(folder), held_out_share=0.0)).held_out is None
    with pytest.raises(ConfigError, match="held_out_share has no effect: demo:digits has the split test"):
        open_images(ImageDataConfig(dataset="demo:digits", held_out_share=0.1))
    with pytest.raises(ConfigError, match=r"held_out_share must be in \[0, 0.5\], got 0.9"):
        ImageDataConfig(held_out_share=0.9)


def test_few_rows_are_all_trained_on_and_many_give_at_most_a_thousand() -> None:
    assert with_rows_held_out(few_rows(40), None).held_out is None
    assert len(with_rows_held_out(few_rows(64), None).held_out) == 8
    assert len(with_rows_held_out(few_rows(1200), 0.5).held_out) == 600
    many = with_rows_held_out(dataclasses.replace(few_rows(40), rows=Rows(50_000), all_rows=Rows(50_000)), None)
    assert (len(many), len(many.held_out)) == (49_000, 1000)


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
    samples = opened.rows.spec.samples
    opened.rows.spec.samples = lambda source: WithBadRows(samples(source))
    monitor = watched(opened).monitor
    good = monitor.voters.good.tolist()
    assert sorted(good) == sorted(set(range(40)) - {3, 7, 30})
    assert monitor.voters.labels.tolist() == few_rows().labels()[good].tolist()


def test_a_run_without_labels_is_watched_without_knn_and_one_without_rows_not_at_all(tmp_path: Path) -> None:
    opened = open_small("mae", tmp_path)
    labelled = few_rows_with_others_held_out()
    bare = dataclasses.replace(labelled, label_column=None)
    figures = open_monitor(bare, opened.rows).look(opened.accelerator, opened.objective, opened.layout, 0.0)
    assert figures.keys() == {"held_out/loss", "held_out/std", "held_out/rank_me"}
    assert open_monitor(few_rows(), opened.rows) is None


def test_a_collapsed_encoder_is_said_to_be_one(tmp_path: Path) -> None:
    opened = watched(open_small("mae", tmp_path))
    healthy = opened.monitor.look(opened.accelerator, opened.objective, opened.layout, 0.0)
    assert "held_out/warnings" not in healthy
    with torch.no_grad():
        opened.objective.model.vit.layernorm.weight.zero_()
        opened.objective.model.vit.layernorm.bias.fill_(1.0)
    collapsed = opened.monitor.look(opened.accelerator, opened.objective, opened.layout, 0.0)
    assert collapsed["held_out/std"] < 1e-6
    assert "collapse" in collapsed["held_out/warnings"][0]


def test_a_held_out_split_of_other_sizes_has_a_data_path_of_its_own(tmp_path: Path) -> None:
    sizes = {"train": [(10, 10)] * 24, "test": [(9, 14), (12, 7), (10, 10), (30, 20)] * 4}
    for split, shapes in sizes.items():
        for index, shape in enumerate(shapes):
            folder = tmp_path / "images" / split / "ab"[index % 2]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(index).integers(0, 256, (*shape, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
    opened = open_small("mae", tmp_path)
    source = open_images(ImageDataConfig(dataset=str(tmp_path / "images")))
    opened.rows.examples = opened.rows.spec.prepare(source)
    assert not opened.rows.spec.wants_workers
    monitor = open_monitor(source, opened.rows)
    assert monitor.rows.spec.wants_workers, "crops of images that differ in size are taken in the worker"
    assert not opened.rows.spec.wants_workers
    figures = monitor.look(opened.accelerator, opened.objective, opened.layout, 0.0)
    assert figures["held_out/loss"] > 0
