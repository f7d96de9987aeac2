"""What a small masked language model on a few megabytes of prose is worth, beside none and beside TF-IDF.

    python benchmarks/text_quality.py --texts brown wikitext shakespeare --labelled sst2 ag_news --seeds 0 1 2

Each name is a folder or file as `--dataset` takes it, with a column `text`. The training splits of TEXTS are joined, a WordPiece
tokenizer of 8,000 tokens is trained on them, and BERT of width 128 with 4 layers is trained on rows of 128 tokens; then
`recipes/evaluate.py` scores it on each labelled set. The settings were chosen for the minutes that they take and tuned
for nothing. Writes benchmarks/results/text_quality.json.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from datasets import load_dataset

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results" / "text_quality.json"
MODEL = ["--model_type", "bert", "--hidden_size", "128", "--num_hidden_layers", "4", "--num_attention_heads", "4"]
FLAGS = [*MODEL, "--dropout", "0", "--train_tokenizer", "wordpiece", "--vocab_size", "8000", "--lowercase", "true"]
FLAGS += ["--max_length", "128", "--global_batch_size", "32", "--base_learning_rate", "1e-3", "--save_every", "1000"]
SIZES = ["10", "100", "10%", "100%"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", nargs="+", required=True)
    parser.add_argument("--labelled", nargs="+", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--max_steps", type=int, default=1500)
    parser.add_argument("--cpu_threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        joined = Path(scratch) / "texts.jsonl"
        megabytes = join(arguments.texts, joined)
        runs = [run_once(arguments, joined, seed, Path(scratch)) for seed in arguments.seeds]
    environment = runs[0].pop("environment")
    for run in runs[1:]:
        run.pop("environment")
    own = ["--seeds", *map(str, arguments.seeds), "--max_steps", str(arguments.max_steps)]
    own += ["--cpu_threads", str(arguments.cpu_threads)]
    result = {
        "command": f"python benchmarks/text_quality.py --texts TEXTS --labelled LABELLED {shlex.join(own)}",
        "texts": [Path(name).name for name in arguments.texts],
        "megabytes": megabytes,
        "settings": shlex.join(FLAGS),
        "environment": environment,
        "scores": {Path(name).name: summarised(runs, Path(name).name) for name in arguments.labelled},
        "runs": runs,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result["scores"], indent=1))


def join(names: list[str], target: Path) -> float:
    """Megabytes of all texts of the training splits, written as one file."""
    with target.open("w", encoding="utf-8") as file:
        for name in names:
            for text in load_dataset(name, split="train")["text"]:
                if text and text.strip():
                    file.write(json.dumps({"text": text}) + "\n")
    return target.stat().st_size / 1e6


def run_once(arguments: argparse.Namespace, joined: Path, seed: int, scratch: Path) -> dict[str, Any]:
    """One pretraining run and its evaluation on each labelled set."""
    folder = scratch / f"seed-{seed}"
    threads = ["--cpu_threads", str(arguments.cpu_threads)]
    train = ["--dataset", str(joined), "--seed", str(seed), "--max_steps", str(arguments.max_steps), *FLAGS, *threads]
    recipe("mlm", [*train, "--output_dir", str(folder)])
    summary = json.loads((folder / "eval" / "summary.json").read_text(encoding="utf-8"))
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    training_seconds = sum(row["time/seconds"] for row in metrics if "loss" in row)
    run = {"seed": seed, "training_seconds": training_seconds, "language": summary["language"], "evaluations": {}}
    for name in arguments.labelled:
        recipe(
            "evaluate",
            ["--model", str(folder), "--dataset", name, "--label_sizes", *SIZES, "--num_seeds", "3", *threads],
        )
        found = json.loads((folder / "eval" / f"evaluate-{Path(name).name}.json").read_text(encoding="utf-8"))
        del found["command"], found["versions"], found["protocol"]
        run["evaluations"][Path(name).name] = found
    environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    del environment["command"]
    return run | {"environment": environment}


def recipe(name: str, flags: list[str]) -> None:
    subprocess.run([sys.executable, str(ROOT / "recipes" / f"{name}.py"), *flags], check=True)


def summarised(runs: list[dict[str, Any]], data: str) -> dict[str, Any]:
    """Features -> score -> mean, lowest and highest over seeds; and the pseudo-perplexity of the test texts."""
    found = [run["evaluations"][data] for run in runs]
    scores: dict[str, Any] = {}
    for index, row in enumerate(found[0]["rows"]):
        rows = [evaluation["rows"][index] for evaluation in found]
        figures = {"knn": [row["knn"] for row in rows], "linear": [row["linear"] for row in rows]}
        for place, point in enumerate(row["curve"][:-1]):
            figures[f"{point['labels']} labels"] = [row["curve"][place]["accuracy"] for row in rows]
        scores[row["features"]] = {name: spread(values) for name, values in figures.items()}
    for name in ("value", "bits_a_byte", "of_token_frequencies"):
        scores.setdefault("pseudo-perplexity", {})[name] = spread(
            [evaluation["perplexity"][name] for evaluation in found]
        )
    return scores


def spread(values: list[float]) -> dict[str, float]:
    return {"mean": statistics.fmean(values), "lowest": min(values), "highest": max(values)}


if __name__ == "__main__":
    main()
