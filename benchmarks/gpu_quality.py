"""CIFAR-10 on one GPU: 200 epochs of ResNet-18 at 128 px in bf16, in pieces that resume.

    python benchmarks/gpu_quality.py --data path/to/cifar10 --minutes 9

Each call works for at most so many minutes and goes on where the last one stopped, method by method in the order of METHODS,
so that a machine that is lent in short leases can do it all. Runs lie under `--runs`; keep that folder between calls. A
finished run is evaluated by its own closing table and entered into benchmarks/results/gpu_quality.json.
"""

import argparse
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results" / "gpu_quality.json"
METHODS = ("simclr", "byol", "moco", "swav", "dino")
PRESET = {name: "resnet18_128px" if name in ("simclr", "byol") else "cifar10" for name in METHODS}
FLAGS = ["--model_config", "resnet18", "--image_size", "128", "--augmentation", "natural", "--num_epochs", "200"]
FLAGS += ["--global_batch_size", "512", "--save_every", "500", "--evaluate_every", "2000"]
SECONDS_TO_SAVE = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--runs", type=Path, default=Path("runs/gpu_quality"))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    arguments = parser.parse_args()
    ends = time.monotonic() + 60 * arguments.minutes - SECONDS_TO_SAVE
    for method in arguments.methods:
        folder = arguments.runs / method
        if not (folder / "eval" / "summary.json").is_file():
            work_on(method, arguments.data, folder, ends)
        if not (folder / "eval" / "summary.json").is_file():
            return
        enter(method, folder)


def work_on(method: str, data: str, folder: Path, ends: float) -> None:
    """Train until `ends`, on the clock of time.monotonic, then ask the run to save and stop."""
    command = [
        "accelerate",
        "launch",
        "--mixed_precision",
        "bf16",
        "--num_processes",
        "1",
        str(ROOT / "recipes" / f"{method}.py"),
    ]
    command += ["--config", PRESET[method], "--dataset", data, *FLAGS, "--output_dir", str(folder)]
    process = subprocess.Popen(command)
    try:
        process.wait(max(1.0, ends - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        process.wait()


def enter(method: str, folder: Path) -> None:
    """The run's closing table, with what it took and on what."""
    found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    summary = json.loads((folder / "eval" / "summary.json").read_text(encoding="utf-8"))
    environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    del environment["command"]
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    minutes = sum(row["time/seconds"] for row in metrics if "loss" in row) / 60
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    found[method] = {"summary": summary, "environment": environment, "training_minutes": minutes, "gpu": gpu}
    found[method]["command"] = " ".join(["python benchmarks/gpu_quality.py --data path/to/cifar10", *sys.argv[3:]])
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
