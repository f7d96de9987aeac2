"""Evaluating any checkpoint: the parts against plain definitions, the whole on a foreign model, refusals that help."""

import json
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2.functional import resize
from transformers import (
    BertConfig,
    ConvNextConfig,
    ConvNextModel,
    Dinov2Config,
    Dinov2Model,
    ResNetConfig,
    ResNetModel,
    ViTImageProcessor,
    ViTMAEConfig,
    ViTMAEForPreTraining,
    WhisperConfig,
)

from hfssl.commands.evaluate import evaluate
from hfssl.console import reported
from hfssl.data.splits import held_out_rows
from hfssl.errors import ConfigError
from hfssl.evaluation import linear_probe as probe_module
from hfssl.evaluation.duplicates import difference_hash, same_features, same_samples
from hfssl.evaluation.evaluate_config import EvaluateConfig
from hfssl.evaluation.features import image_features, open_encoder, untrained_encoder
from hfssl.evaluation.label_curve import count_for, interval, label_curve, paired_difference, rows_of_size

CPU = torch.device("cpu")
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 16, "patch_size": 8}


def save_foreign(kind: str, folder: Path) -> None:
    torch.manual_seed(0)
    models = {
        "dinov2": lambda: Dinov2Model(Dinov2Config(**SMALL)),
        "vit_mae": lambda: ViTMAEForPreTraining(ViTMAEConfig(**SMALL, intermediate_size=32)),
        "resnet": lambda: ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])),
        "convnext": lambda: ConvNextModel(ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2)),
    }
    models[kind]().save_pretrained(folder)
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)


@pytest.mark.parametrize("kind", ["dinov2", "vit_mae", "resnet", "convnext"])
def test_features_of_foreign_checkpoints_are_one_repeatable_vector_an_image(kind: str, tmp_path: Path) -> None:
    save_foreign(kind, tmp_path)
    images = [torch.randint(0, 256, (3, 20, 24), dtype=torch.uint8) for _ in range(5)]
    first, second = (image_features(open_encoder(tmp_path, CPU), images) for _ in range(2))
    assert first.shape == (5, 16)
    assert np.allclose(first, second, atol=1e-5)
    assert np.allclose(first[2:3], image_features(open_encoder(tmp_path, CPU), images[2:3]), atol=1e-5)
    fresh = image_features(untrained_encoder(tmp_path, 1, CPU), images)
    assert fresh.shape == first.shape
    assert not np.allclose(fresh, first, atol=1e-3)


def test_sizes_of_the_label_curve() -> None:
    assert [count_for(size, 50) for size in ("3", "10%", "1%", "100%")] == [3, 5, 1, 50]
    for size in ("0", "-1", "2.5", "101%", "0%", "many"):
        with pytest.raises(ConfigError, match="a count a class like 20 or a share like 5%"):
            count_for(size, 50)
    labels = np.arange(60) % 3
    rows = rows_of_size(labels, "4", seed=1)
    assert np.bincount(labels[rows]).tolist() == [4, 4, 4]
    assert set(rows_of_size(labels, "2", seed=1)) <= set(rows)  # a larger size contains the smaller one's rows
    with pytest.raises(ConfigError, match="has 20 rows only"):
        rows_of_size(labels, "21", seed=0)


def test_the_curve_rises_and_its_intervals_are_paired(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_module, "STRENGTHS", (0.1,))
    generator = np.random.default_rng(0)
    labels = np.arange(400) % 4
    features = np.eye(4)[labels] + generator.normal(size=(400, 4)) * 0.8
    halves = (features[:200], labels[:200], features[200:], labels[200:])
    whole = probe_module.fitted_probe(*halves[:2]).predict(halves[2]) == halves[3]
    curve = label_curve(*halves, sizes=["1", "100%"], num_seeds=4, whole_M=whole)
    assert curve.sizes == [4, 200]
    assert curve.correct[0].shape == (4, 200)
    assert curve.correct[1].mean() > curve.correct[0].mean()
    assert (curve.correct[1] == whole).all()
    low, high = interval(curve.correct[0])
    assert low < curve.correct[0].mean() < high
    worse = curve.correct[0] & (generator.random((4, 200)) > 0.1)
    mean, low, high = paired_difference(curve.correct[0], worse)
    unpaired = np.subtract(*reversed(interval(curve.correct[0])))
    assert 0 < low < mean < high
    assert high - low < unpaired


def test_interval_of_independent_hits_is_the_binomial_one() -> None:
    hits = np.random.default_rng(0).random((1, 1000)) < 0.7
    low, high = interval(hits)
    assert high - low == pytest.approx(2 * 1.96 * (0.21 / 1000) ** 0.5, rel=0.1)


def test_near_duplicates_are_found_by_pixels_and_by_features() -> None:
    generator = np.random.default_rng(0)
    coarse = [torch.from_numpy(generator.integers(0, 256, (3, 4, 4), dtype=np.uint8)) for _ in range(6)]
    images = [resize(image, [32, 32]) for image in coarse]
    grown, flat = resize(images[0], [64, 64]), torch.zeros(3, 32, 32, dtype=torch.uint8)
    sides = ([*images[:3], flat], [grown, images[4], images[1], flat])
    train_hashes, test_hashes = (np.array([difference_hash(image) for image in side]) for side in sides)
    assert same_samples(train_hashes, test_hashes).tolist() == [True, False, True, False]
    train = generator.normal(size=(50, 8)).astype(np.float32)
    test = np.concatenate([train[3:4] * 1.00001, generator.normal(size=(1, 8)).astype(np.float32)])
    assert same_features(train, test).tolist() == [True, False]


def test_a_split_made_here_keeps_groups_whole_and_classes_on_both_sides() -> None:
    labels = np.arange(200) % 2
    groups = np.arange(200) // 4
    held_out = held_out_rows(labels, groups, 0.25, seed=0)
    assert 40 <= held_out.sum() <= 60
    assert all(len(set(held_out[groups == group])) == 1 for group in range(50))
    assert set(labels[held_out]) == set(labels[~held_out]) == {0, 1}
    assert np.array_equal(held_out, held_out_rows(labels, groups, 0.25, seed=0))
    with pytest.raises(ConfigError, match="class 1 has too few rows or groups"):
        held_out_rows(np.array([0, 0, 0, 0, 1]), None, 0.25, seed=0)


def labelled(folder: Path, labels: list[int], patients: list[str] | None = None) -> str:
    generator = np.random.default_rng(0)
    images = [
        Image.fromarray(generator.integers(0, 100 + 100 * (label % 2), (16, 16, 3), dtype=np.uint8)) for label in labels
    ]
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["dark", "light", "other"])}
    columns = {"image": images, "label": labels}
    if patients is not None:
        columns["patient"] = patients
        features["patient"] = datasets.Value("string")
    datasets.Dataset.from_dict(columns, features=datasets.Features(features)).save_to_disk(str(folder))
    return str(folder)


def test_a_foreign_checkpoint_from_flags_to_file_and_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_foreign("dinov2", tmp_path / "model")
    data = labelled(tmp_path / "data", [0, 1] * 30, [f"p{index // 4}" for index in range(60)])
    config = EvaluateConfig(
        model=str(tmp_path / "model"),
        dataset=data,
        group_column="patient",
        label_sizes=("2", "100%"),
        num_seeds=2,
        output_dir=str(tmp_path / "out"),
    )
    result = evaluate(config)
    assert [row["features"] for row in result["rows"]] == ["raw pixels", "PCA of pixels", "untrained", "evaluated"]
    assert result["rows"][0]["linear"] > 0.9
    assert json.loads((tmp_path / "out" / "evaluate-data.json").read_text()) == result
    assert np.asarray(Image.open(tmp_path / "out" / "evaluate-data.png").convert("L")).std() > 5
    assert "whole groups of patient on one side" in result["split"]
    said = capsys.readouterr().out
    assert "points over an untrained one (95 % interval" in said
    assert str(tmp_path) not in json.dumps(result)


def test_a_size_that_takes_all_rows_is_not_fitted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hfssl.evaluation.label_curve.fitted_probe", lambda *parts: pytest.fail("fitted again"))
    features, labels = np.ones((16, 3)), np.arange(16) % 2
    whole = labels == 1
    curve = label_curve(features, labels, features, labels, sizes=["8", "100%"], num_seeds=3, whole_M=whole)
    assert curve.sizes == [16, 16]
    assert all((correct == whole).all() and correct.shape == (3, 16) for correct in curve.correct)


def refused(flags: dict[str, str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which a command stops; its exit code is 2."""
    with pytest.raises(SystemExit) as stopped, reported():
        evaluate(EvaluateConfig(**flags))
    assert stopped.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_what_can_not_be_evaluated_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_foreign("dinov2", tmp_path / "model")
    BertConfig().save_pretrained(tmp_path / "text")
    WhisperConfig().save_pretrained(tmp_path / "audio")
    few = labelled(tmp_path / "few", [0, 1] * 10)
    datasets.load_from_disk(few).remove_columns("label").save_to_disk(str(tmp_path / "unlabelled"))
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("layout: 2\nrecipe: mae\n")
    good = {"model": str(tmp_path / "model"), "dataset": few}
    monkeypatch.setattr("hfssl.commands.evaluate._all_features", lambda *parts: pytest.fail("refused after the work"))
    for flags, message in (
        ({"dataset": labelled(tmp_path / "one", [1] * 10)}, "have the label 1: nothing to tell apart"),
        ({"dataset": labelled(tmp_path / "withheld", [-1] * 10)}, "missing, or withheld as -1"),
        ({"dataset": str(tmp_path / "unlabelled")}, "name one with --label_column"),
        ({"label_sizes": ("50",)}, "label size 50: the class 0 has"),
        ({"label_sizes": ("2.5",)}, "a count a class like 20 or a share like 5%"),
        ({"model": str(tmp_path / "nowhere")}, "does not exist: name a run folder, an export or a Hub id"),
        ({"model": "nobody/nothing"}, "--model nobody/nothing is no folder here, and the Hub cannot be reached"),
        (
            {"model": str(tmp_path / "text"), "image_column": "image"},
            "--image_column has no effect: text reads input_ids",
        ),
        ({"text_column": "text"}, "--text_column has no effect: model reads pixel_values"),
        ({"perplexity_documents": 5}, "--perplexity_documents has no effect"),
        (
            {"model": str(tmp_path / "audio")},
            "audio reads input_features: name a checkpoint that reads images, texts or waveforms",
        ),
        ({"model": str(run)}, "has no checkpoint to make an export of"),
    ):
        assert message in refused(good | flags, capsys)
    (tmp_path / "file").write_text("")
    for flags, message in (
        ({"model": None}, "--model"),
        ({"num_seeds": 1}, "at least 2"),
        ({"batch_size": 0}, "at least 1"),
        ({"test_share": 1.0}, r"in \(0, 1\)"),
        ({"output_dir": str(tmp_path / "file")}, "is a file: name a folder"),
    ):
        with pytest.raises(ConfigError, match=message):
            EvaluateConfig(**(good | flags))
