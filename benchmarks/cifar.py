"""What ten CPU minutes of each image method are worth on CIFAR-10: 20,000 training images, a ViT of 4 layers and width 96.

    python benchmarks/cifar.py --data path/to/cifar10 --minutes 10

`path/to/cifar10` holds train.parquet and test.parquet with columns `image` and `label`. Each method trains for as many steps as
fit into the minutes on one thread (`--budget_hours`), without labels; a supervised run of the same network takes the same
minutes. All are scored on the 10,000 test images: kNN and probe with 20,000 labels, probes with 5,000 and 100 of them (means
of NUM_DRAWS draws). Settings are those of FLAGS. BYOL and DINO did not beat their untrained
encoder in batches of 256 with the settings of their digits, which stay in the results under names of their own; batches of 64
and teachers of momentum 0.99 were tried next, once, and came out above it. Runs that
stand in benchmarks/results/cifar.json already are kept; the figure is benchmarks/results/cifar.png.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import load_dataset
from matplotlib import pyplot
from torch.nn.functional import cross_entropy
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

from hfssl.checkpoints.locate import find_checkpoint
from hfssl.data.images.config import ImageDataConfig
from hfssl.data.images.crops import crop_boxes, resized_crop
from hfssl.data.images.source import open_images
from hfssl.data.source import fixed_rows
from hfssl.evaluation.features import Encoder, image_features, open_encoder, untrained_encoder
from hfssl.evaluation.images import Images, baselines
from hfssl.evaluation.knn import knn_predictions
from hfssl.evaluation.label_curve import label_curve
from hfssl.evaluation.linear_probe import fitted_probe
from hfssl.nn.schedules import warmup_cosine
from hfssl.randomness import sample_keys, uniform
from hfssl.training.start import cpu_name, versions

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results"
NUM_TRAINING, BATCH, NUM_DRAWS = 20_000, 256, 5
VIT = {"patch_size": 4, "hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4}
SHARED = ["--config", "cifar10", *(part for name, value in VIT.items() for part in (f"--{name}", str(value)))]
SHARED += [
    "--global_batch_size",
    str(BATCH),
    "--base_learning_rate",
    "2e-3",
    "--evaluate_every",
    "1000000",
    "--seed",
    "0",
]
SHARP = ["--teacher_temperature", "0.02", "--initial_teacher_temperature", "0.02"]
MANY_STEPS = ["--global_batch_size", "64", "--base_learning_rate", "4e-3", "--teacher_momentum", "0.99"]
HEAD = ["--projection_hidden_size", "256", "--projection_size", "64"]
FLAGS = {
    "simclr": HEAD,
    "byol": [*HEAD, "--prediction_hidden_size", "256", *MANY_STEPS],
    "moco": [*HEAD, "--queue_size", "4096"],
    "swav": [*HEAD, "--num_prototypes", "100"],
    "dino": [*HEAD, "--num_prototypes", "512", "--head_batch_norm", *SHARP, *MANY_STEPS],
    "mae": ["--decoder_hidden_size", "64", "--decoder_num_attention_heads", "4"],
}
POINTS = {"knn": "kNN", "linear": "20,000 labels", "5000": "5,000 labels", "100": "100 labels"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--methods", nargs="+", default=[*FLAGS, "supervised"])
    parser.add_argument("--keep", type=Path, help="folder to copy the run folders into")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    target = RESULTS / "cifar.json"
    found: dict[str, Any] = json.loads(target.read_text(encoding="utf-8")) if target.is_file() else {"runs": {}}
    found |= {"command": f"python benchmarks/cifar.py --data path/to/cifar10 --minutes {arguments.minutes:g}"}
    found |= {"versions": versions(), "cpu": cpu_name(), "threads": 1}
    with tempfile.TemporaryDirectory() as scratch:
        data = part_of(arguments.data, Path(scratch))
        judge = Judge(data)
        for method in (name for name in arguments.methods if name not in found["runs"]):
            folder = Path(scratch) / method
            start = time.perf_counter()
            if method == "supervised":
                run = supervised(data, folder, arguments.minutes)
            else:
                run = pretrain(method, data, folder, arguments)
            run |= {"minutes_in_all": (time.perf_counter() - start) / 60}
            run |= {"load_after": Path("/proc/loadavg").read_text().split()[0]}
            export = find_checkpoint(str(folder)).location
            run["scores"] = judge.of(open_encoder(export, torch.device("cpu")))
            if "floors" not in found:
                found["floors"] = judge.baselines(Path(export))
            found["runs"][method] = run
            if arguments.keep is not None and method != "supervised":
                shutil.copytree(folder, arguments.keep / method)
            target.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            print(method, {name: round(value, 3) for name, value in run["scores"].items()}, flush=True)
    draw(found)


def part_of(data: str, scratch: Path) -> Path:
    """A folder with NUM_TRAINING fixed training images and all test images."""
    folder = scratch / "cifar10"
    folder.mkdir()
    for split in ("train", "test"):
        rows = load_dataset("parquet", data_files=str(Path(data) / f"{split}.parquet"), split="train")
        chosen = rows.select(fixed_rows(len(rows), NUM_TRAINING)) if split == "train" else rows
        chosen.to_parquet(folder / f"{split}.parquet")
    return folder


def pretrain(method: str, data: Path, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    flags = [*SHARED, *FLAGS[method], "--budget_hours", str(arguments.minutes / 60), "--cpu_threads", "1"]
    recipe(method, ["--dataset", str(data), *flags, "--output_dir", str(folder)])
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = [row for row in metrics if "loss" in row]
    minutes = sum(row["time/seconds"] for row in rows) / 60
    return {"flags": flags, "steps": rows[-1]["step"], "training_minutes": minutes, "final_loss": rows[-1]["loss"]}


def recipe(name: str, flags: list[str]) -> None:
    subprocess.run(
        [sys.executable, str(ROOT / "recipes" / f"{name}.py"), *flags], check=True, stdout=subprocess.DEVNULL
    )


class Judge:
    """Scores encoders on the same images with the same probes as `recipes/evaluate.py`, without its floors each time."""

    def __init__(self, data: Path) -> None:
        config = ImageDataConfig(dataset=str(data), validation_share=0.0)
        source = open_images(config)
        assert source.test is not None
        self.sides = Images(source, 3), Images(source.test, 3)

    def baselines(self, folder: Path) -> dict[str, dict[str, float]]:
        """Of raw pixels, their PCA, and an encoder of the configuration in `folder` with fresh weights."""
        found = {name: self.scores(*features) for name, features in baselines(*self.sides).items()}
        return found | {"untrained": self.of(untrained_encoder(folder, 0, torch.device("cpu")))}

    def of(self, encoder: Encoder) -> dict[str, float]:
        return self.scores(*(image_features(encoder, side) for side in self.sides))

    def scores(self, train_ND: Any, test_MD: Any) -> dict[str, float]:
        labels, test_labels = (side.labels for side in self.sides)
        knn = knn_predictions(train_ND, labels, test_MD)
        whole = fitted_probe(train_ND, labels).predict(test_MD) == test_labels
        curve = label_curve(
            train_ND, labels, test_MD, test_labels, sizes=["10", "500"], num_seeds=NUM_DRAWS, whole_M=whole
        )
        few = {str(size): float(hits.mean()) for size, hits in zip(curve.sizes, curve.correct, strict=True)}
        return {"knn": float((knn == test_labels).mean()), "linear": float(whole.mean())} | few


def supervised(data: Path, folder: Path, minutes: float) -> dict[str, Any]:
    """The same network with a linear head and all labels, crops and flips; its encoder is saved as a run's export would be."""
    rows = load_dataset("parquet", data_files=str(data / "train.parquet"), split="train").with_format("torch")
    images, labels = torch.stack(list(rows["image"][:])), rows["label"][:]
    torch.manual_seed(0)
    config = ViTConfig(
        **VIT, intermediate_size=4 * VIT["hidden_size"], image_size=32, num_labels=10, hfssl_pooling="cls"
    )
    model = ViTForImageClassification(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05, fused=True)
    num_steps, step, began = None, 0, time.perf_counter()
    while num_steps is None or step < num_steps:
        if step == 30:  # from here on the length is fixed
            num_steps = int(minutes * 60 / ((time.perf_counter() - began) / 30))
        epoch, place = divmod(step * BATCH, len(images) // BATCH * BATCH)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(epoch))
        ids = order[place : place + BATCH]
        keys = sample_keys(0, torch.full_like(ids, epoch), ids)
        boxes = crop_boxes(keys, "crop", torch.full_like(ids, 32), torch.full_like(ids, 32), (0.4, 1.0))
        pixels = resized_crop(images[ids], boxes, 32, uniform(keys, "flip", 1)[:, 0] < 0.5).clamp(0, 255) / 127.5 - 1
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * warmup_cosine(step / (num_steps or 10_000), 0.05)
        cross_entropy(model(pixel_values=pixels).logits, labels[ids]).backward()
        optimizer.step()
        optimizer.zero_grad()
        step += 1
    model.eval().vit.save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return {"steps": step, "training_minutes": (time.perf_counter() - began) / 60}


def draw(found: dict[str, Any]) -> None:
    """A group of bars for each figure."""
    shown = [name for name in ("mae", *FLAGS, "supervised") if name in found["runs"]]
    bars = found["floors"] | {name: found["runs"][name]["scores"] for name in dict.fromkeys(shown)}
    colours = dict.fromkeys(found["floors"], "#999999") | {"supervised": "#c2571a"}
    figure, axes = pyplot.subplots(1, len(POINTS), figsize=(13, 3.4), sharey=True, layout="constrained")
    for axis, (key, title) in zip(axes, POINTS.items(), strict=True):
        axis.barh(
            list(bars), [values[key] for values in bars.values()], color=[colours.get(name, "#1f4e79") for name in bars]
        )
        axis.set_title(title)
        axis.grid(alpha=0.3, axis="x")
    axes[0].invert_yaxis()  # of all, which share it
    figure.suptitle("CIFAR-10, 20,000 images, ten minutes on one CPU thread: test accuracy")
    figure.savefig(RESULTS / "cifar.png", dpi=110)


if __name__ == "__main__":
    main()
