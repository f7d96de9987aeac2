"""The whole way, as a user goes it: from a folder of images to a loaded model, and the ways in which it can end early."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from accelerate import DistributedType
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, ViTForImageClassification, ViTMAEForPreTraining, pipeline

from hfssl.commands.export import export_checkpoint
from hfssl.commands.export_config import ExportConfig
from hfssl.commands.pretrain import pretrain
from hfssl.config.parse import parse
from hfssl.config.sections import LoopConfig
from hfssl.data.images.config import ImageDataConfig
from hfssl.errors import ConfigError
from hfssl.methods.mae.config import MAEConfig
from hfssl.methods.mae.objective import MAE
from hfssl.run_dir import RunDir
from hfssl.training.accelerator import start

ROOT = Path(__file__).parent.parent
SMALL = [
    "--config",
    "demo",
    "--image_size",
    "8",
    "--patch_size",
    "2",
    "--hidden_size",
    "16",
    "--num_hidden_layers",
    "1",
]
SMALL += ["--num_attention_heads", "2", "--decoder_hidden_size", "16", "--decoder_num_attention_heads", "2"]
SMALL += ["--global_batch_size", "16", "--log_every", "2", "--cpu_threads", "1"]


@pytest.fixture(scope="module")
def two_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 + 20 images of two textures, as an image folder with a test split."""
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 10)):
        for name in ("stripes", "noise"):
            target = folder / split / name
            target.mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 256, (10, 10, 3))
                if name == "stripes":
                    pixels[:] = 255 * (np.arange(10) % 2)[:, None, None]
                    pixels += generator.integers(-20, 20, (10, 10, 3))
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(target / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def finished(two_classes: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    folder = tmp_path_factory.mktemp("finished") / "run"
    argv = [*SMALL, "--dataset", str(two_classes), "--output_dir", str(folder), "--max_steps", "6", "--save_every", "3"]
    argv += ["--validation_share", "0.2"]
    return pretrain(MAE, parse(MAEConfig, ImageDataConfig, argv))


def test_the_run_folder_holds_what_the_design_promises(finished: RunDir) -> None:
    names = {path.name for path in finished.path.iterdir() if not path.name.startswith(".")}
    folders = {"checkpoints", "export", "eval", "figures"}
    files = {"config.yaml", "environment.json", "metrics.jsonl", "closing.json", "report.html", "README.md"}
    assert names == folders | files
    assert json.loads((finished.path / "closing.json").read_text()) == {"failed": {}, "is_over": True}
    rows = {row["features"]: row for row in finished.read_summary()["rows"]}
    assert list(rows) == ["raw pixels", "PCA of pixels", "untrained", "pretrained"]
    assert all(0.3 <= row[score] <= 1 for row in rows.values() for score in ("knn", "linear", "few_labels"))
    for name in ("loss", "watch", "neighbours", "reconstruction"):
        pixels = np.asarray(Image.open(finished.figures / f"{name}.png").convert("L"))
        assert pixels.std() > 5


def test_report_and_card_show_the_closing_table_and_the_card_no_path(finished: RunDir, two_classes: Path) -> None:
    report, card = finished.report_file.read_text(), finished.card_file.read_text()
    knn = f"{finished.read_summary()['rows'][-1]['knn']:.3f}"
    assert f"<td>{knn}<small>" in report
    assert f"| pretrained | 16 | {knn} (" in card
    assert str(two_classes) in report
    assert two_classes.name not in card
    assert str(finished.path) not in card


def test_a_stranger_loads_encoder_processor_full_model_and_pipeline(finished: RunDir, two_classes: Path) -> None:
    model = AutoModel.from_pretrained(finished.export, add_pooling_layer=False).eval()
    processor = AutoImageProcessor.from_pretrained(finished.export)
    image = Image.open(two_classes / "test" / "noise" / "0.png")
    hidden = model(**processor(images=image, return_tensors="pt")).last_hidden_state
    assert hidden.shape == (1, 17, 16)
    features = pipeline("image-feature-extraction", model=str(finished.export))(image)
    assert np.allclose(features, hidden.detach().numpy(), atol=1e-5)
    full = ViTMAEForPreTraining.from_pretrained(finished.export / "pretraining")
    assert torch.equal(full.vit.layernorm.weight, model.layernorm.weight)
    classifier = ViTForImageClassification.from_pretrained(finished.export, num_labels=2)
    assert torch.equal(classifier.vit.layernorm.weight, model.layernorm.weight)


def test_a_checkpoint_is_exported_without_the_data(finished: RunDir, tmp_path: Path) -> None:
    config = ExportConfig(run=str(finished.path), step=6, output_dir=str(tmp_path / "export"))
    folder = export_checkpoint(config)
    again, first = (AutoModel.from_pretrained(path, add_pooling_layer=False) for path in (folder, finished.export))
    assert all(torch.equal(tensor, first.state_dict()[name]) for name, tensor in again.state_dict().items())
    earlier = export_checkpoint(ExportConfig(run=str(finished.path), step=3))
    assert earlier == finished.path / "export-step_00000003"
    with pytest.raises(ConfigError, match="no whole checkpoint of step 4; there are: 3, 6"):
        export_checkpoint(ExportConfig(run=str(finished.path), step=4))
    with pytest.raises(ConfigError, match="is not a run folder"):
        export_checkpoint(ExportConfig(run=str(tmp_path)))


def test_a_run_starts_from_another_runs_weights(
    finished: RunDir, two_classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--config", "demo", "--dataset", str(two_classes / "train"), "--init_from", str(finished.path)]
    argv += ["--output_dir", str(tmp_path), "--max_steps", "1", "--global_batch_size", "4", "--cpu_threads", "1"]
    run_dir = pretrain(MAE, parse(MAEConfig, ImageDataConfig, argv))
    said = capsys.readouterr().out
    assert "tensors loaded" in said
    assert "new (0): none" in said
    assert run_dir.read_config()["method"]["hidden_size"] == 16
    assert run_dir.read_config()["data"]["image_size"] == 8
    assert [row["features"] for row in run_dir.read_summary()["rows"]][2:] == ["before this run", "pretrained"]
    exported = export_checkpoint(ExportConfig(run=str(tmp_path)))
    assert AutoModel.from_pretrained(exported, add_pooling_layer=False).config.hidden_size == 16


def test_without_labels_there_are_no_scores_but_a_spread(tmp_path: Path) -> None:
    rows = datasets.Dataset.from_dict(
        {"picture": [Image.fromarray(np.full((9, 9), value, np.uint8)) for value in range(0, 240, 10)]},
        features=datasets.Features({"picture": datasets.Image()}),
    )
    rows.save_to_disk(str(tmp_path / "rows"))
    argv = [*SMALL, "--dataset", str(tmp_path / "rows"), "--output_dir", str(tmp_path / "run"), "--max_steps", "1"]
    argv += ["--num_channels", "1"]
    run_dir = pretrain(MAE, parse(MAEConfig, ImageDataConfig, argv))
    last = run_dir.read_summary()["rows"][-1]
    assert "knn" not in last
    assert last["rank_me"] >= 1
    assert AutoModel.from_pretrained(run_dir.export, add_pooling_layer=False).config.num_channels == 1


def recipe(*argv: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "recipes" / "mae.py"), *argv]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    )


def test_sigterm_ends_the_recipe_with_143_and_the_command_that_goes_on(tmp_path: Path) -> None:
    process = recipe(*SMALL, "--output_dir", str(tmp_path), "--max_steps", "100000", "--log_every", "1")
    deadline = time.monotonic() + 90
    while not RunDir(tmp_path).read_metrics() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 143, error
    assert f"--output_dir {tmp_path}" in out.splitlines()[-1]
    assert len(RunDir(tmp_path).checkpoint_steps()) == 1
    assert "Traceback" not in error


def test_what_only_the_data_can_tell_is_one_line_and_exit_2_too(tmp_path: Path) -> None:
    process = recipe(*SMALL, "--dataset", "someone/unheard-of", "--output_dir", str(tmp_path / "run"))
    _, error = process.communicate(timeout=90)
    assert process.returncode == 2
    assert error.strip().splitlines()[-1].startswith("error: --dataset someone/unheard-of cannot be opened")
    assert "Traceback" not in error


LAUNCHES: dict[str, dict[str, Any]] = {
    "accumulation": {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"},
    "FSDP": {"ACCELERATE_USE_FSDP": "true"},
    "DEEPSPEED": {"ACCELERATE_USE_DEEPSPEED": "true"},
    "strangers": {"WORLD_SIZE": "2"},
}


@pytest.mark.parametrize("case", LAUNCHES)
def test_launches_that_would_train_wrongly_are_refused(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    start(LoopConfig(max_steps=1, cpu_threads=1))  # Accelerate keeps what the first start of a process finds
    for name, value in LAUNCHES[case].items():
        monkeypatch.setenv(name, value)
    messages = {"accumulation": "leave it at 1", "strangers": "2 processes were launched but Accelerate sees 1"}
    with pytest.raises(ConfigError, match=messages.get(case, f"{case} is not supported")):
        start(LoopConfig(max_steps=1))


def test_a_plain_launch_is_accepted() -> None:
    assert start(LoopConfig(max_steps=1, cpu_threads=1)).distributed_type == DistributedType.NO


def test_the_environment_names_versions_and_no_host(finished: RunDir) -> None:
    text = (finished.path / "environment.json").read_text()
    facts = json.loads(text)
    assert torch.__version__.startswith(facts["versions"]["torch"])
    assert facts["num_processes"] == 1
    assert os.uname().nodename not in text.replace(facts["command"], "")
