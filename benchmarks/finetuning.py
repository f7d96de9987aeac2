"""What our checkpoints are worth downstream, on real data: fine-tuning runs and studies of labels, one after the other.

    python benchmarks/finetuning.py --data path/to/data --cases digits_mae fashion_simclr

`--data` is a folder of data sets: fashion_mnist, pneumoniamnist, hymenoptera, sst2, ag_news, conll2003, fsdd, speech_transcribed
(those that the cases need). Each case is the commands that pretrain and fine-tune, as a user would type them; results are joined
into benchmarks/results/finetuning.json, those of other cases stay.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "finetuning.json"
SMALL_VIT = ["--patch_size", "4", "--hidden_size", "96", "--num_hidden_layers", "4", "--num_attention_heads", "4"]
STUDY = ["--seeds", "3", "--compare", "scratch", "--max_steps", "200", "--evaluate_every", "50"]
SHORT = [
    "--seeds",
    "3",
    "--compare",
    "scratch",
    "--max_steps",
    "100",
    "--evaluate_every",
    "50",
    "--validation_share",
    "0.02",
]
# name: (recipe and flags of pretraining or None, task, flags of fine-tuning); {data} is the folder of --data
CASES: dict[str, tuple[list[str] | None, str, list[str]]] = {
    "digits_mae": (
        ["mae"],
        "image_classification",
        ["--dataset", "demo:digits", "--label_fractions", "0.02,0.1,1", *STUDY],
    ),
    "digits_simclr": (
        ["simclr"],
        "image_classification",
        ["--dataset", "demo:digits", "--augmentation", "digits", "--label_fractions", "0.02,0.1,1", *STUDY],
    ),
    "fashion_mae": (
        ["mae", "--config", "demo", "--dataset", "{data}/fashion_mnist", "--image_size", "28", *SMALL_VIT],
        "image_classification",
        ["--dataset", "{data}/fashion_mnist", "--label_fractions", "0.001,0.01", *SHORT],
    ),
    "fashion_simclr": (
        ["simclr", "--config", "demo", "--dataset", "{data}/fashion_mnist", "--image_size", "28", *SMALL_VIT],
        "image_classification",
        ["--dataset", "{data}/fashion_mnist", "--label_fractions", "0.001,0.01", *SHORT],
    ),
    "xrays_mae": (
        ["mae", "--config", "demo", "--dataset", "{data}/pneumoniamnist", "--image_size", "28", *SMALL_VIT],
        "image_classification",
        ["--dataset", "{data}/pneumoniamnist", "--label_fractions", "0.005,0.05,1", *SHORT[:-2]],
    ),
    "hymenoptera_mae": (
        ["mae", "--config", "demo", "--dataset", "{data}/tiny_imagenet", "--image_size", "32", *SMALL_VIT],
        "image_classification",
        ["--dataset", "{data}/hymenoptera", "--label_fractions", "0.2,1", *SHORT[:-2]],
    ),
    "fashion_resnet18": (
        None,
        "image_classification",
        [
            *("--dataset", "{data}/fashion_mnist", "--model_config", "resnet18", "--image_size", "32"),
            *("--max_steps", "300", "--evaluate_every", "100", "--validation_share", "0.02"),
        ],
    ),
    "ag_news_mlm": (
        ["mlm", "--config", "demo", "--dataset", "{data}/ag_news", "--max_steps", "1500", "--max_length", "64"],
        "sequence_classification",
        [
            *("--dataset", "{data}/ag_news", "--max_length", "64", "--label_fractions", "0.01,0.1"),
            *("--learning_rates", "5e-4,2e-3,8e-3", *SHORT[:-2]),
        ],
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    arguments = parser.parse_args()
    for name in arguments.cases:
        with tempfile.TemporaryDirectory() as folder:
            found = carried_out(name, arguments.data, Path(folder))
        results = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {}
        RESULT.write_text(json.dumps(results | {name: found}, indent=1) + "\n", encoding="utf-8")
        print(f"{name} written to {RESULT.relative_to(ROOT)}", flush=True)


def carried_out(name: str, data: Path, folder: Path) -> dict[str, Any]:
    """Commands, seconds, and what the run folders hold of one case."""
    pretraining, task, flags = CASES[name]
    found: dict[str, Any] = {"commands": []}
    model: list[str] = []
    if pretraining is not None:
        recipe, *options = pretraining
        found |= {"pretraining": run_of(found, [recipe, *options], data, folder / "pretrained")}
        model = ["--model", str(folder / "pretrained")]
    found |= {"finetuning": run_of(found, ["finetune", "--task", task, *model, *flags], data, folder / "finetuned")}
    return found


def run_of(found: dict[str, Any], command: list[str], data: Path, folder: Path) -> dict[str, Any]:
    recipe, *flags = command
    flags = [flag.replace("{data}", str(data)) for flag in flags]
    found["commands"].append(shown(["python", f"recipes/{recipe}.py", *command[1:]]))
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, str(ROOT / "recipes" / f"{recipe}.py"), *flags, "--output_dir", str(folder)], check=True
    )
    result: dict[str, Any] = {"seconds": time.perf_counter() - begun}
    environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    del environment["command"]
    found["environment"] = environment
    for file in sorted((folder / "eval").glob("*.json")):
        result[file.stem] = without_bulk(json.loads(file.read_text(encoding="utf-8")), data)
    return result


def shown(command: list[str]) -> str:
    """The command with the data's folder by name."""
    words = [word.replace("{data}", "DATA") for word in command]
    return " ".join(word if "/" not in word or not Path(word).is_absolute() else "PRETRAINED" for word in words)


def without_bulk(content: Any, data: Path) -> Any:
    """Without what each single row did, and without local paths."""
    if isinstance(content, dict):
        bulk = ("right", "mistakes", "calibration_bins", "confusion")
        return {key: without_bulk(value, data) for key, value in content.items() if key not in bulk}
    if isinstance(content, list):
        return [without_bulk(value, data) for value in content]
    return content.replace(str(data), "DATA") if isinstance(content, str) else content


if __name__ == "__main__":
    main()
