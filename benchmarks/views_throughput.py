"""What loading and augmentation cost the methods that compare views: the loop beside its own step on resident views.

    python benchmarks/views_throughput.py --dataset path/to/cifar10 --rounds 3

ViT of width 192, 6 layers, patches of 4, images of 32 px, batches of 128, float32. In turns, in one process: STEPS steps of the
loop as it is, and as many of the same `train_step` on one batch whose views lie ready on the device. The share is the time of
the second by that of the first. Writes benchmarks/results/views_throughput.json; what stands there already is kept.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from hfssl.catalog import method as method_of
from hfssl.config.parse import parse
from hfssl.console import quieten_libraries
from hfssl.data.images.config import ImageDataConfig
from hfssl.run_dir import RunDir
from hfssl.runs.context import RunContext
from hfssl.runs.open_session import open_session
from hfssl.training.accelerator import start
from hfssl.training.loop import prepare, steps_of_batches
from hfssl.training.report import Stopwatch
from hfssl.training.start import Start, cpu_name, versions
from hfssl.training.step import StepContext, train_step

RESULTS = Path(__file__).resolve().parent / "results"
METHODS = ("simclr", "moco", "byol", "swav", "dino")
STEPS, BATCH = 6, 128
FLAGS = [
    "--config",
    "cifar10",
    "--num_hidden_layers",
    "6",
    "--global_batch_size",
    str(BATCH),
    "--validation_share",
    "0",
]
LOCAL_CROPS = ["--num_local_crops", "4", "--local_crop_size", "16"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    quieten_libraries()
    target = RESULTS / "views_throughput.json"
    result: dict[str, Any] = {"shares": {}}
    if target.is_file():
        result = json.loads(target.read_text(encoding="utf-8"))
    result |= {
        "command": f"python benchmarks/views_throughput.py --dataset path/to/cifar10 --rounds {arguments.rounds}",
        "versions": versions(),
        "cpu": cpu_name(),
    }
    config = [(name, name, []) for name in METHODS]
    config += [(f"{name}, 4 local crops", name, LOCAL_CROPS) for name in ("swav", "dino")]
    for title, name, flags in config:
        if title in result["shares"]:
            continue
        result["shares"][title] = shares(name, arguments, flags) | {"threads": arguments.threads}
        print(title, result["shares"][title], flush=True)
        target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def shares(name: str, arguments: argparse.Namespace, flags: list[str]) -> dict[str, Any]:
    """The share of each round and their median, with images a second of the loop."""
    config, objective = method_of(name)
    flags = [
        *FLAGS,
        *flags,
        "--dataset",
        arguments.dataset,
        "--cpu_threads",
        str(arguments.threads),
        "--num_workers",
        "0",
    ]
    run = parse(config, ImageDataConfig, flags)
    with tempfile.TemporaryDirectory() as scratch:
        context = RunContext(objective, run, None, start(run.loop))
        session, _ = open_session(context, Start(RunDir(Path(scratch)), None, []), verbose=False)
        parts = prepare(session)
    session.objective.train()
    batches = steps_of_batches(session, Stopwatch("images"))
    resident = [parts.augment(batch, 0.0) for batch in next(batches)]
    augment = parts.augment
    rounds, speeds = [], []
    for _ in range(arguments.rounds + 1):
        parts.augment = augment
        whole = seconds(parts, lambda: next(batches))
        parts.augment = lambda batch, progress: batch
        bare = seconds(parts, lambda: [dict(batch) for batch in resident])
        rounds.append(bare / whole)
        speeds.append(STEPS * BATCH / whole)
    return {
        "median": statistics.median(rounds[1:]),
        "rounds": rounds[1:],
        "images_a_second": statistics.median(speeds[1:]),
    }


def seconds(parts: StepContext, batches: Any) -> float:
    begun = time.perf_counter()
    for step in range(STEPS):
        train_step(parts, batches(), step=step, progress=0.5, stop=False)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
