"""What a recipe's demo run reaches, over seeds: the numbers of docs/results.md.

    python benchmarks/demo.py --recipe mae --seeds 0 1 2

Runs `python recipes/<recipe>.py --seed S` into a temporary folder and writes benchmarks/results/demo_<recipe>.json: each
run's closing table, its seconds, mean and range over seeds, with command, versions and hardware.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results"
SCORES = ("knn", "linear", "few_labels")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="mae")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        runs = [run_once(arguments.recipe, seed, Path(scratch) / str(seed)) for seed in arguments.seeds]
    environments = [run.pop("environment") for run in runs]
    result = {
        "command": f"python {shlex.join(['benchmarks/demo.py', *sys.argv[1:]])}",
        "environment": environments[0],
        "scores": summarise(runs),
        "runs": runs,
    }
    target = RESULTS / f"demo_{arguments.recipe}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for name, scores in result["scores"].items():
        shown = "  ".join(
            f"{key} {value['mean']:.3f} ({value['lowest']:.3f}-{value['highest']:.3f})" for key, value in scores.items()
        )
        print(f"{name:15}  {shown}")
    print(f"written to {target.relative_to(ROOT)}")


def run_once(recipe: str, seed: int, folder: Path) -> dict[str, Any]:
    """One demo run: its closing table, its wall time and, in the first, its environment without the command line."""
    start = time.perf_counter()
    command = [sys.executable, str(ROOT / "recipes" / f"{recipe}.py"), "--seed", str(seed), "--output_dir", str(folder)]
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - start
    summary = json.loads((folder / "eval" / "summary.json").read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    del environment["command"]
    training_seconds = sum(row["time/seconds"] for row in rows if "loss" in row)
    return summary | {
        "seed": seed,
        "seconds": seconds,
        "training_seconds": training_seconds,
        "environment": environment,
    }


def summarise(runs: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Features -> score -> mean, lowest and highest over runs."""
    summary: dict[str, dict[str, dict[str, float]]] = {}
    for row in runs[0]["rows"]:
        name = row["features"]
        same = [other for run in runs for other in run["rows"] if other["features"] == name]
        summary[name] = {}
        for score in SCORES:
            values = [other[score] for other in same]
            summary[name][score] = {"mean": sum(values) / len(values), "lowest": min(values), "highest": max(values)}
    return summary


if __name__ == "__main__":
    main()
