"""How the demo presets of several methods were chosen: inside the training rows, the test rows stay closed.

    python benchmarks/demo_search.py --recipes simclr moco byol swav dino wav2vec2

Trains on the first 972 of the digits' 1,297 training rows, of the vowels on the first 30 of 40 voices, and scores on the others,
by the results table of a run. Each trial is the preset `demo` with a few flags changed; flags that equal the preset's today were
tried when it had others. Writes benchmarks/results/demo_search.json; trials that stand there already are kept.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hfssl.data.demo.sets import SETS
from hfssl.training.start import cpu_name, versions

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results" / "demo_search.json"
NUM_TRAINING = {"digits": 972, "vowels": 450}
SHOWN = ("knn", "linear", "few_labels", "training_seconds")
TRIALS = json.loads((Path(__file__).with_name("demo_search_trials.json")).read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=list(TRIALS))
    parser.add_argument("--trials", nargs="+", help="names of trials (default: all)")
    parser.add_argument("--cpu_threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {"trials": {}}
    with tempfile.TemporaryDirectory() as scratch:
        for recipe in arguments.recipes:
            data = cut_training_rows("vowels" if recipe == "wav2vec2" else "digits", Path(scratch))
            for name in arguments.trials or TRIALS[recipe]:
                if name not in TRIALS[recipe] or f"{recipe}/{name}" in found["trials"]:
                    continue
                trial = run_once(
                    recipe, TRIALS[recipe][name], data, Path(scratch) / f"{recipe}-{name}", arguments.cpu_threads
                )
                found["trials"][f"{recipe}/{name}"] = trial
                print(
                    f"{recipe}/{name}",
                    {key: trial[key] for key in ("knn", "linear", "few_labels", "training_seconds")},
                    flush=True,
                )
                found |= {"versions": versions(), "cpu": cpu_name(), "command": "python benchmarks/demo_search.py"}
                RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def cut_training_rows(name: str, scratch: Path) -> Path:
    """A folder with two parts of the training rows of demo:<name> as train and test."""
    data, rows = scratch / name, SETS[name]()["train"]
    data.mkdir(exist_ok=True)
    rows.select(range(NUM_TRAINING[name])).to_parquet(data / "train.parquet")
    rows.select(range(NUM_TRAINING[name], len(rows))).to_parquet(data / "test.parquet")
    return data


def run_once(recipe: str, flags: str, data: Path, folder: Path, threads: int) -> dict[str, Any]:
    """Scores of the pretrained encoder on the rows that were not trained on, beside its flags and seconds."""
    command = [sys.executable, str(ROOT / "recipes" / f"{recipe}.py"), "--config", "demo", "--dataset", str(data)]
    command += ["--output_dir", str(folder), "--cpu_threads", str(threads), *shlex.split(flags)]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{recipe} {flags}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    summary = json.loads((folder / "eval" / "summary.json").read_text(encoding="utf-8"))
    row = next(row for row in summary["rows"] if row["features"] == "pretrained")
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    training = sum(row["time/seconds"] for row in metrics if "loss" in row)
    scores = {name: row.get(name) for name in ("knn", "linear", "few_labels", "std", "rank_me")}
    if "layers" in summary:
        scores |= {"layers": summary["layers"], "pretext": summary["pretext"]["accuracy"]}
    times = {"training_seconds": training, "seconds": time.perf_counter() - start, "threads": threads}
    return {"flags": flags, "final_loss": summary["final_loss"]} | scores | times


if __name__ == "__main__":
    main()
