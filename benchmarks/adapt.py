"""What continuing from one's own checkpoint is worth: SimCLR on Tiny ImageNet, adapted to chest X-rays, against scratch.

    python benchmarks/adapt.py --data path/to/data

`path/to/data` holds `tiny_imagenet` and `pneumoniamnist`. A ViT of 4 layers and width 96 for images of 32 px is pretrained on
the photographs for PHOTO_STEPS steps. Then, all on the X-rays' training rows without labels and for XRAY_STEPS steps each: the
preset `adapt` from that checkpoint, the same at another learning rate, and a run from scratch. Each one's closing table scores
kNN, linear probe and 10 labels a class on the X-rays' test rows; that of the adapted run scores the checkpoint before, too.
Writes benchmarks/results/adapt.json; runs that stand there already are kept.
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

from datasets import load_dataset

from hfssl.training.start import cpu_name, versions

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results" / "adapt.json"
PHOTO_STEPS, XRAY_STEPS = 800, 250
VIT = "--patch_size 4 --hidden_size 96 --num_hidden_layers 4 --num_attention_heads 4 --image_size 32"
HEAD = "--projection_hidden_size 256 --projection_size 64 --global_batch_size 128"
XRAYS = f"{HEAD} --augmentation medical --max_steps {XRAY_STEPS}"
ARMS = {  # name -> flags, and whether it starts from the checkpoint
    "adapt": (f"--config adapt {XRAYS}", True),
    "adapt, learning rate 5e-4": (f"--config adapt {XRAYS} --base_learning_rate 5e-4", True),
    "adapt, learning rate 2e-3": (f"--config adapt {XRAYS} --base_learning_rate 2e-3", True),
    "scratch": (f"--config cifar10 {VIT} {XRAYS} --base_learning_rate 2e-3", False),
}
SCORES = ("knn", "linear", "few_labels", "std", "rank_me")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", default=["0", "1"])
    parser.add_argument("--cpu_threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    found: dict[str, Any] = {"runs": {}}
    if RESULTS.is_file():
        found = json.loads(RESULTS.read_text(encoding="utf-8"))
    found |= {"command": "python benchmarks/adapt.py --data path/to/data", "versions": versions(), "cpu": cpu_name()}
    with tempfile.TemporaryDirectory() as scratch:
        photos, xrays = (part_of(arguments.data / name, Path(scratch)) for name in ("tiny_imagenet", "pneumoniamnist"))
        threads = f"--cpu_threads {arguments.cpu_threads} --evaluate_every 1000000 --save_every 1000000"
        for seed in arguments.seeds:
            checkpoint = Path(scratch) / f"photos-{seed}"
            flags = f"--config cifar10 {VIT} {HEAD} --max_steps {PHOTO_STEPS} --base_learning_rate 2e-3"
            if all(f"{name}, seed {seed}" in found["runs"] for name in ARMS):
                continue
            pretrain(photos, f"{flags} {threads} --seed {seed}", checkpoint)
            for name, (flags, continues) in ARMS.items():
                start = f"--init_from {checkpoint}" if continues else ""
                run = pretrain(
                    xrays, f"{flags} {threads} --seed {seed} {start}", checkpoint.with_name(f"{seed}-{name}")
                )
                found["runs"][f"{name}, seed {seed}"] = run | {"flags": flags}
                print(name, seed, json.dumps(run["scores"]), flush=True)
                RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def part_of(folder: Path, scratch: Path) -> Path:
    """The training rows, and the rows that are scored; the split `validation` of X-rays stays unused."""
    target = scratch / folder.name
    target.mkdir()
    scored = "test" if (folder / "test.parquet").is_file() else "validation"
    for split, name in (("train", "train"), (scored, "test")):
        rows = load_dataset("parquet", data_files=str(folder / f"{split}.parquet"), split="train")
        rows.to_parquet(target / f"{name}.parquet")
    return target


def pretrain(data: Path, flags: str, folder: Path) -> dict[str, Any]:
    start = time.perf_counter()
    command = [sys.executable, str(ROOT / "recipes" / "simclr.py"), "--dataset", str(data), *flags.split()]
    subprocess.run([*command, "--output_dir", str(folder)], check=True, stdout=subprocess.DEVNULL)
    summary = json.loads((folder / "eval" / "summary.json").read_text(encoding="utf-8"))
    scores = {row["features"]: {name: row.get(name) for name in SCORES} for row in summary["rows"]}
    counts = {name: summary[name] for name in ("train_rows", "test_rows")}
    return {"scores": scores, "final_loss": summary["final_loss"], "seconds": time.perf_counter() - start} | counts


if __name__ == "__main__":
    main()
