"""What a small wav2vec 2.0 learns of real speech in 15 minutes of one thread: spoken digits and who speaks, by linear probes.

    python benchmarks/speech.py pretrain --data path/to/data --seed 0
    python benchmarks/speech.py pretrain --data path/to/data --seed 1 --max_steps 3908
    python benchmarks/speech.py report --data path/to/data

`path/to/data` holds `fsdd` (the Free Spoken Digit Dataset, 2,700 and 300 recordings of six speakers, 8 kHz) and
`speech_transcribed` (118 sentences of one reader, 16 kHz), each with train.parquet and test.parquet. `pretrain` trains on the
recordings of both training splits, without labels. `report` takes the features of fsdd's official split (takes 0 to 4 of each
speaker and digit are the test) from the exports of all seeds that are there, from untrained models of the same seeds, and the
log-mel statistics, and fits the probes of hfssl/evaluation; into benchmarks/results/speech.json.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Audio, load_dataset

from hfssl.data.audio.config import AudioDataConfig
from hfssl.data.audio.source import open_recordings
from hfssl.evaluation.audio_features import layer_features, open_audio_encoder, untrained_audio_encoder
from hfssl.evaluation.clips import Clips, log_mel_statistics
from hfssl.evaluation.knn import knn_accuracy
from hfssl.evaluation.layers import layer_probes
from hfssl.evaluation.linear_probe import few_label_probe, linear_probe
from hfssl.run_dir import RunDir
from hfssl.training.start import cpu_name, versions

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results" / "speech.json"
SETS = ("fsdd", "speech_transcribed")
TASKS = {"digit": "label", "speaker": "speaker"}
LABELS_A_CLASS = 5
FLAGS = """--config demo --audio_column none --label_column none --hidden_size 128 --num_hidden_layers 4 --num_attention_heads 4
--conv_dim 96 96 96 96 --conv_kernel 20 8 4 4 --conv_stride 10 4 4 2 --num_codevectors 16 --codevector_size 128
--mask_length 4 --min_duration_seconds 0.25 --max_duration_seconds 4 --batch_seconds 24 --validation_share 0.02"""
Array = np.ndarray[Any, Any]
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("pretrain", "report"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--max_steps", type=int, help="instead of minutes: those of the first seed, for the others")
    parser.add_argument("--runs", type=Path, default=Path("runs/speech"))
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.stage == "pretrain":
        pretrain(arguments)
    else:
        report(arguments)


def pretrain(arguments: argparse.Namespace) -> None:
    recordings = arguments.runs / "recordings"
    if not recordings.is_dir():
        write_recordings(arguments.data, recordings)
    command = [sys.executable, str(ROOT / "recipes" / "wav2vec2.py"), *FLAGS.split(), "--dataset", str(recordings)]
    steps = ["--max_steps", str(arguments.max_steps)] if arguments.max_steps else []
    command += steps or ["--budget_hours", str(arguments.minutes / 60)]
    command += ["--seed", str(arguments.seed)]
    command += ["--cpu_threads", str(arguments.threads), "--output_dir", str(arguments.runs / f"seed-{arguments.seed}")]
    subprocess.run(command, check=True)


def write_recordings(data: Path, target: Path) -> None:
    """The training splits as one flat folder of files: no labels, each at its own rate."""
    unfinished = target.with_name(f".{target.name}.tmp")
    unfinished.mkdir(parents=True, exist_ok=True)
    for name in SETS:
        rows = load_dataset("parquet", data_files=str(data / name / "train.parquet"), split="train")
        for index, sample in enumerate(rows.cast_column("audio", Audio(decode=False))["audio"]):
            (unfinished / f"{name}-{index:04}.flac").write_bytes(sample["bytes"])
    unfinished.rename(target)


def report(arguments: argparse.Namespace) -> None:
    sides = clips_of(arguments.data)
    runs = sorted(arguments.runs.glob("seed-*/export"))
    if not runs:
        raise SystemExit(f"there is no finished run under {arguments.runs}: run the stage pretrain first")
    labels = {task: labels_of(arguments.data, column, sides) for task, column in TASKS.items()}
    rows = [scored("log-mel", [log_mel_statistics(side)[:, None] for side in sides], labels)]
    for export in runs:
        seed = int(export.parent.name.removeprefix("seed-"))
        for name, encoder in (
            ("untrained", untrained_audio_encoder(export, seed, CPU)),
            ("pretrained", open_audio_encoder(export, CPU)),
        ):
            row = scored(name, [layer_features(encoder, side) for side in sides], labels) | {"seed": seed}
            rows.append(row | (run_figures(RunDir(export.parent)) if name == "pretrained" else {}))
            print(name, seed, {task: {key: row[task][key] for key in ("knn", "linear")} for task in TASKS}, flush=True)
    result = {
        "command": "python benchmarks/speech.py",
        "flags": FLAGS.split(),
        "versions": versions(),
        "cpu": cpu_name(),
    }
    result |= {"threads": arguments.threads, "labels_a_class_of_few": LABELS_A_CLASS, "rows": rows}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for task in TASKS:
        print(*table_lines(rows, task), sep="\n")


def data_config(data: Path, label_column: str) -> AudioDataConfig:
    return AudioDataConfig(dataset=str(data / "fsdd"), label_column=label_column, validation_share=0.0)


def clips_of(data: Path) -> tuple[Clips, Clips]:
    source = open_recordings(data_config(data, "label"))
    assert source.test is not None
    return Clips(source, 16_000), Clips(source.test, 16_000)


def labels_of(data: Path, column: str, sides: tuple[Clips, Clips]) -> tuple[Array, Array]:
    files = [str(data / "fsdd" / f"{part}.parquet") for part in ("train", "test")]
    tables = [load_dataset("parquet", data_files=file, split="train") for file in files]
    train, test = (np.array(table[column])[side.rows] for table, side in zip(tables, sides, strict=True))
    return train, test


def scored(name: str, layers: list[Array], labels: dict[str, tuple[Array, Array]]) -> dict[str, Any]:
    """Figures of the last layer, and of all of them where there are several: (N, L, D) features of both sides."""
    row: dict[str, Any] = {"features": name, "width": layers[0].shape[2]}
    train_ND, test_MD = (part[:, -1] for part in layers)
    for task, (train_N, test_M) in labels.items():
        few = few_label_probe(train_ND, train_N, test_MD, test_M, labels_a_class=LABELS_A_CLASS)
        row[task] = {
            "knn": knn_accuracy(train_ND, train_N, test_MD, test_M),
            "linear": linear_probe(train_ND, train_N, test_MD, test_M),
            "few_labels": few.mean,
        }
        if layers[0].shape[1] > 1:
            row[task]["layers"] = layer_probes(layers[0], train_N, layers[1], test_M)
    return row


def run_figures(run_dir: RunDir) -> dict[str, Any]:
    rows = run_dir.training_rows()
    names = ("step", "epoch", "loss", "contrastive_loss", "accuracy", "code_perplexity")
    return {name: rows[-1][name] for name in names} | {"minutes": sum(row["time/seconds"] for row in rows) / 60}


def table_lines(rows: list[dict[str, Any]], task: str) -> list[str]:
    lines = [f"{task}: kNN, linear, {LABELS_A_CLASS} labels a class, best layer, weighted sum (mean over seeds)"]
    for name in dict.fromkeys(row["features"] for row in rows):
        found = [row[task] for row in rows if row["features"] == name]
        figures = [np.mean([part[key] for part in found]) for key in ("knn", "linear", "few_labels")]
        if "layers" in found[0]:
            figures.append(np.mean([max(part["layers"]["linear"]) for part in found]))
            figures.append(np.mean([part["layers"]["weighted_sum"] for part in found]))
        lines.append(f"{name:10} " + " ".join(f"{figure:.3f}" for figure in figures))
    return lines


if __name__ == "__main__":
    main()
