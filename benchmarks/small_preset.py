"""How the preset `small` was chosen, and what it reaches: three small data sets at a size that a CPU can train.

    python benchmarks/small_preset.py search path/to/data
    python benchmarks/small_preset.py width path/to/data
    python benchmarks/small_preset.py final path/to/data

`search` pretrains on three quarters of each set's training rows and scores every candidate on the rest; test rows stay
closed. `width` does the same for two learning rates at twice the width. `final` pretrains the preset on all training rows
with seeds 0-2 and opens the test rows once. All shrink the preset as SHRINK says and keep its crop, masks and targets; the
learning rate is the best one for the shrunk width. Folders are read as `hymenoptera`, `pneumoniamnist` and `fashion_mnist`
below the given path, at most 5,000 training rows of each. Results go to benchmarks/results/small_preset_<stage>.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from datasets import DatasetDict, load_dataset

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results"
SETS = {"hymenoptera": "validation", "pneumoniamnist": "test", "fashion_mnist": "test"}
MOST_ROWS = 5000
SCORES = ("knn", "linear", "few_labels")
SHRINK = {
    "image_size": 32,
    "patch_size": 4,
    "hidden_size": 96,
    "num_hidden_layers": 6,
    "num_attention_heads": 3,
    "decoder_hidden_size": 64,
    "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": 2,
    "max_steps": 500,
    "global_batch_size": 128,
    "save_every": 1000,
    "log_every": 100,
}
START = {"base_learning_rate": "1e-3", "crop_scale": "0.5 1.0", "norm_pix_loss": "true", "mask_ratio": "0.75"}
WIDER = START | {"hidden_size": "192", "num_attention_heads": "6", "decoder_hidden_size": "96"}
CANDIDATES = [
    START,
    START | {"base_learning_rate": "1.5e-4"},
    START | {"base_learning_rate": "4e-3"},
    START | {"norm_pix_loss": "false"},
    START | {"crop_scale": "0.2 1.0"},
    START | {"crop_scale": "0.8 1.0"},
    START | {"mask_ratio": "0.6"},
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("search", "width", "final"))
    parser.add_argument("data", type=Path)
    parser.add_argument("--cpu_threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    jobs = {
        "search": [(candidate, 0) for candidate in CANDIDATES],
        "width": [(WIDER | {"base_learning_rate": rate}, 0) for rate in ("1e-3", "5e-4")],
        "final": [({"base_learning_rate": START["base_learning_rate"]}, seed) for seed in range(3)],
    }[arguments.stage]
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folders = {name: write_splits(arguments.data / name, arguments.stage, Path(scratch) / name) for name in SETS}
        for settings, seed in jobs:
            for name, folder in folders.items():
                run = run_once(folder, settings, seed, Path(scratch) / f"run-{len(runs)}", arguments.cpu_threads)
                runs.append({"data": name} | run)
                print(json.dumps(runs[-1]), flush=True)
                write(arguments.stage, runs)


def write_splits(folder: Path, stage: str, target: Path) -> Path:
    """A data set of train and validation (search) or test rows (final), in the order of seed 0."""
    splits = load_dataset("parquet", data_files={path.stem: str(path) for path in folder.glob("*.parquet")})
    train = splits["train"].shuffle(seed=0)
    train = train.select(range(min(MOST_ROWS, len(train))))
    if stage != "final":
        cut = 3 * len(train) // 4
        DatasetDict(
            {"train": train.select(range(cut)), "validation": train.select(range(cut, len(train)))}
        ).save_to_disk(target)
    else:
        DatasetDict({"train": train, "test": splits[SETS[folder.name]]}).save_to_disk(target)
    return target


def run_once(folder: Path, settings: dict[str, str], seed: int, run_dir: Path, cpu_threads: int) -> dict[str, Any]:
    """The closing scores of one run: pretrained, untrained and raw pixels."""
    flags = {key: str(value) for key, value in SHRINK.items()} | settings
    flags |= {"dataset": str(folder), "output_dir": str(run_dir), "seed": str(seed), "cpu_threads": str(cpu_threads)}
    command = [sys.executable, str(ROOT / "recipes" / "mae.py")]
    for key, value in flags.items():
        command += [f"--{key}", *value.split()]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    summary = json.loads((run_dir / "eval" / "summary.json").read_text(encoding="utf-8"))
    scores = {row["features"]: {score: row.get(score) for score in SCORES} for row in summary["rows"]}
    counts = {name: summary[name] for name in ("train_rows", "test_rows")}
    return {"settings": settings, "seed": seed, "seconds": time.perf_counter() - start} | counts | {"scores": scores}


def write(stage: str, runs: list[dict[str, Any]]) -> None:
    from hfssl.training.start import cpu_name, versions

    result = {
        "command": f"python benchmarks/small_preset.py {stage} path/to/data",
        "versions": versions(),
        "cpu": cpu_name(),
        "shrunk_to": SHRINK,
        "runs": runs,
    }
    target = RESULTS / f"small_preset_{stage}.json"
    target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
