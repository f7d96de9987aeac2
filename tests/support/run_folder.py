"""Run folders made by hand, as a run would leave them, for what is written from a run folder alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import ViTConfig, ViTImageProcessor, ViTModel

from hfssl.checkpoints.exports import write_export
from hfssl.config.parse import parse
from hfssl.data.images.config import ImageDataConfig
from hfssl.evaluation.image_modality import ImageModality
from hfssl.methods.mae.config import MAEConfig
from hfssl.objective import Export
from hfssl.run_dir import RunDir

ROWS = 1297
BATCH = 128


def begun(path: Path, argv: Sequence[str] = (), steps: Sequence[int] = (10, 20), held_out: bool = True) -> RunDir:
    """A run that was killed after the last of `steps`."""
    run_dir = RunDir(path)
    run = parse(MAEConfig, ImageDataConfig, ["--config", "demo", "--max_steps", "40", "--output_dir", str(path), *argv])
    run_dir.write_config(run.stored())
    run_dir.write_environment(environment(f"python recipes/mae.py --output_dir {path}"))
    if held_out:
        run_dir.append_metrics(validation_row(0))
    for step in steps:
        run_dir.append_metrics(training_row(step))
        if held_out:
            run_dir.append_metrics(validation_row(step))
    return run_dir


def finished(path: Path, argv: Sequence[str] = (), labels: bool = True, held_out: bool = True) -> RunDir:
    """A run with its closing table, a picture and an export."""
    run_dir = begun(path, argv, steps=(10, 20, 30, 40), held_out=held_out)
    run_dir.figures.mkdir()
    Image.new("RGB", (12, 9), (200, 30, 60)).save(run_dir.figures / "reconstruction.png")
    export(run_dir.export)
    run_dir.write_summary(summary(run_dir.read_config()["data"]["dataset"], labels))
    return run_dir


def environment(command: str) -> dict[str, Any]:
    return {
        "versions": {"hfssl": "0.1.0", "torch": "2.11.0"},
        "device": "cpu",
        "gpus": [],
        "cpu": "A Processor",
        "cpu_cores": 2,
        "threads_per_process": 1,
        "num_processes": 1,
        "mixed_precision": "no",
        "power": {"watts": 20.0, "basis": "2 CPU threads at 10 W each, a rule of thumb"},
        "command": command,
    }


def training_row(step: int, **changed: Any) -> dict[str, Any]:
    row = {"step": step, "epoch": step * BATCH / ROWS, "learning_rate": 1e-3, "loss": 10.0 / step}
    row |= {"skipped_steps": 0, "bad_rows": 0, "time/seconds": 5.0, "time/samples_per_second": 256.0}
    return row | {"time/data_wait": 0.02, "time/steps": 10} | changed


def validation_row(step: int) -> dict[str, Any]:
    spread = {"validation/std": 0.2 + step / 1000, "validation/rank_me": 30.0 + step / 10}
    return {"step": step, "validation/loss": 20.0 / (step + 10), **spread, "validation/knn": 0.6 + step / 200}


def summary(data: str, labels: bool) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for name, accuracy in (("raw pixels", 0.9), ("PCA of pixels", 0.9), ("untrained", 0.6), ("pretrained", 0.8)):
        row: dict[str, Any] = {"features": name, "width": 16}
        if labels:
            row |= {"knn": accuracy, "linear": accuracy + 0.05, "few_labels": accuracy - 0.1}
            row |= {"few_labels_interval": 0.0125, "num_labels": 100}
        if name in ("untrained", "pretrained"):
            row |= {"std": 0.25, "rank_me": 12.5, "warnings": []}
        rows.append(row)
    counts = {"train_rows": ROWS, "test_rows": 500 if labels else 0, "test_split": "test" if labels else None}
    return {"rows": rows, "data": data, **counts, "protocol": ImageModality.protocol, "steps": 40, "samples_seen": 5120}


def evaluation(data: str, classes: Sequence[str], local: bool) -> dict[str, Any]:
    """What `hfssl evaluate` writes."""
    point = {"labels": 20, "accuracy": 0.7, "low": 0.6, "high": 0.75}
    row = {"features": "evaluated", "width": 16, "knn": 0.8, "linear": 0.85, "std": 0.3, "rank_me": 9.0}
    return {
        "rows": [row | {"curve": [point]}],
        "near_duplicates_in_test": {"by_hash": 1, "hash_of": "pixels", "by_features": 2},
        "notes": [],
        "train_rows": 80,
        "test_rows": 20,
        "data": data,
        "local": local,
        "classes": list(classes),
        "split": "the data's own: train and test",
    }


def export(folder: Path, num_channels: int = 3, pooling: str = "mean_patches") -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = ViTConfig(image_size=8, patch_size=4, num_channels=num_channels, **sizes)
    config.hfssl_pooling = pooling
    torch.manual_seed(0)
    statistics = {"image_mean": [0.5] * num_channels, "image_std": [0.5] * num_channels}
    processor = ViTImageProcessor(size={"height": 8, "width": 8}, **statistics)
    write_export(Export(ViTModel(config, add_pooling_layer=False).eval(), processor), folder)
