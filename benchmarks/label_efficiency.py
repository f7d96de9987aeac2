"""Is pretraining worth its minutes when labels are few? MobileNetV2 on Tiny ImageNet, two classes to tell apart.

    python benchmarks/label_efficiency.py pretrain --data path/to/tiny_imagenet --arm rotation --minutes 40
    python benchmarks/label_efficiency.py trials   --data path/to/tiny_imagenet --arm rotation
    python benchmarks/label_efficiency.py study    --data path/to/tiny_imagenet --arm rotation
    python benchmarks/label_efficiency.py report

`pretrain` trains the network by the named recipe on all 11,999 training images without labels (the arm `scratch` needs none).
`trials` chooses the learning rate of an arm among RATES on the pairs of classes TRIAL_PAIRS, which the study does not use.
`study` fine-tunes the whole network on SIZES labels of each class of every pair in PAIRS, with SEEDS draws of them, for STEPS
steps of AdamW, crops and mirroring, and tests on the validation images, 20 a class
(19 of a few). Draws, batches and crops are the same for
every arm. Each (arm, pair, seed, size) is kept under `--runs`, so that a stage goes on where it was stopped, and arms can run
side by side. `report` joins them: paired bootstrap over pairs, seeds and test images, learning curves as a picture; into
benchmarks/results/label_efficiency.json and .png.

With `--xrays` the data is a folder with train, validation and test.parquet of two classes, pneumoniamnist: learning rates are
then chosen on the validation images with TRIAL_SEEDS, the study tests on the test images, and files are called
label_efficiency_xrays.

The network is MobileNetV2 at half width for 64 px. Pairs were drawn by seed 0 before any result, except the first, goose and
goldfish. A BatchNorm of a fresh network knows nothing of its inputs after 60 steps with torch's momentum of 0.1, hence the
moments of one pass over the training rows at the end, for every arm.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import load_dataset
from matplotlib import pyplot
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision.transforms.v2.functional import pil_to_tensor
from transformers import MobileNetV2Config

from hfssl.data.images.crops import crop_boxes, resized_crop
from hfssl.models.backbone import Backbone
from hfssl.nn.schedules import warmup_cosine
from hfssl.randomness import sample_keys, uniform
from hfssl.run_dir import write_text
from hfssl.training.start import cpu_name, versions

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results"
SIZE, STEPS, BATCH, RESAMPLES = 64, 60, 32, 2000
SIZES, SEEDS, RATES = (5, 10, 20, 60), range(5), (3e-4, 1e-3, 3e-3, 1e-2)
TRIAL_SEEDS = range(5, 8)  # where there are no other pairs to try learning rates on
NAMED = ("goose", "goldfish")
NUM_PAIRS, NUM_TRIAL_PAIRS = 20, 5
FLAGS = {
    "rotation": "--global_batch_size 64 --base_learning_rate 4e-3",
    "jigsaw": "--global_batch_size 64 --base_learning_rate 4e-3 --num_permutations 72 --projection_size 128",
    "simclr": "--global_batch_size 128 --base_learning_rate 2e-3 --projection_hidden_size 512",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("pretrain", "trials", "study", "report"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--arm", choices=("scratch", *FLAGS))
    parser.add_argument("--minutes", type=float, default=40.0)
    parser.add_argument("--runs", type=Path, default=Path("runs/label_efficiency"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--xrays", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.stage == "pretrain":
        pretrain(arguments)
    elif arguments.stage == "report":
        report(arguments.runs, "label_efficiency_xrays" if arguments.xrays else "label_efficiency")
    else:
        fine_tune_all(arguments)


def network_config() -> MobileNetV2Config:
    return MobileNetV2Config(depth_multiplier=0.5, image_size=SIZE)


def pretrain(arguments: argparse.Namespace) -> None:
    """The recipe on all training images; labels are in the data and are used for its closing table alone."""
    config = arguments.runs / "mobilenet"
    network_config().save_pretrained(config)
    command = [sys.executable, str(ROOT / "recipes" / f"{arguments.arm}.py"), "--dataset", str(arguments.data)]
    command += ["--config", "small", "--model_config", str(config), "--image_size", str(SIZE), "--pooling", "mean"]
    command += ["--budget_hours", str(arguments.minutes / 60), "--cpu_threads", str(arguments.threads)]
    command += ["--output_dir", str(arguments.runs / arguments.arm), *FLAGS[arguments.arm].split()]
    command += ["--augmentation", "medical"] if arguments.xrays else []
    subprocess.run(command, check=True)


def pairs_of(names: list[str]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(pairs of the study, pairs of the trials): all classes different."""
    named = [next(index for index, name in enumerate(names) if name.split(" ", 1)[1] == config) for config in NAMED]
    order = [int(label) for label in np.random.default_rng(0).permutation(len(names)) if label not in named]
    drawn = [(named[0], named[1]), *zip(order[0::2], order[1::2], strict=True)]
    return drawn[:NUM_PAIRS], drawn[NUM_PAIRS : NUM_PAIRS + NUM_TRIAL_PAIRS]


class Images:
    """Pixels, SIZE a side, and labels of all splits; decoded once."""

    def __init__(self, folder: Path) -> None:
        self.pixels, self.labels = {}, {}
        for file in sorted(folder.glob("*.parquet")):
            split, rows = file.stem, load_dataset("parquet", data_files=str(file), split="train")
            self.names = rows.features["label"].names
            pixels = [pil_to_tensor(image.convert("RGB").resize((SIZE, SIZE))) for image in rows["image"]]
            self.pixels[split] = torch.stack(pixels)
            self.labels[split] = np.array(rows["label"])

    def of_pair(self, split: str, pair: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """(pixels, 0 or 1) of the two classes, class by class."""
        rows = [np.flatnonzero(self.labels[split] == label) for label in pair]
        labels = torch.cat([torch.full((len(part),), side) for side, part in enumerate(rows)])
        return self.pixels[split][np.concatenate(rows)], labels


def fine_tune_all(arguments: argparse.Namespace) -> None:
    images = Images(arguments.data)
    study, trials = ([(0, 1)], [(0, 1)]) if arguments.xrays else pairs_of(images.names)
    target = arguments.runs / f"{arguments.arm}.json"
    found: dict[str, Any] = {"trials": {}, "study": {}}
    if target.is_file():
        found = json.loads(target.read_text(encoding="utf-8"))
    is_trial = arguments.stage == "trials"
    if is_trial:
        seeds: Iterable[int] = TRIAL_SEEDS if arguments.xrays else [0]
        jobs = [(pair, seed, size, rate) for pair in trials for seed in seeds for size in SIZES for rate in RATES]
    else:
        config = (len(TRIAL_SEEDS) if arguments.xrays else NUM_TRIAL_PAIRS) * len(SIZES) * len(RATES)
        if len(found["trials"]) < config:
            raise SystemExit(
                f"{arguments.arm} has {len(found['trials'])} of {config} trials: run the stage trials first"
            )
        rate = best_rate(found["trials"])
        jobs = [(pair, seed, size, rate) for pair in study for seed in SEEDS for size in SIZES]
    for pair, seed, size, rate in jobs:
        key = f"{images.names[pair[0]]} / {images.names[pair[1]]}, seed {seed}, {size} labels"
        key += f", rate {rate:g}"
        if key in found[arguments.stage]:
            continue
        start = time.perf_counter()
        tested = "test" if arguments.xrays and not is_trial else "validation"
        correct = fine_tuned(arguments, images, pair, seed, size, rate, tested)
        found[arguments.stage][key] = {"pair": list(pair), "seed": seed, "size": size, "rate": rate} | {
            "correct": "".join(str(int(right)) for right in correct),
            "seconds": time.perf_counter() - start,
        }
        write_text(target, json.dumps(found, indent=1) + "\n")
    if is_trial:
        print(arguments.arm, "learning rate", best_rate(found["trials"]))


def accuracy_of(run: dict[str, Any]) -> float:
    return run["correct"].count("1") / len(run["correct"])


def best_rate(trials: dict[str, Any]) -> float:
    """The learning rate with the best mean accuracy over all trials."""
    return max(RATES, key=lambda rate: np.mean([accuracy_of(run) for run in trials.values() if run["rate"] == rate]))


def fine_tuned(
    arguments: argparse.Namespace,
    images: Images,
    pair: tuple[int, int],
    seed: int,
    size: int,
    rate: float,
    tested: str,
) -> list[bool]:
    """Which images of the pair in the split `tested` a network trained on `size` labels a class gets right."""
    torch.manual_seed(seed)
    backbone = Backbone.build(network_config(), image_size=SIZE, num_channels=3, pooling="mean")
    model = nn.Sequential(backbone, nn.Linear(backbone.width, 2))
    if arguments.arm != "scratch":
        backbone.load_pretrained(str(arguments.runs / arguments.arm / "export"))
    pixels, labels = images.of_pair("train", pair)
    generator = np.random.default_rng(seed)
    sides = [np.flatnonzero(labels.numpy() == side) for side in (0, 1)]
    drawn = np.concatenate([generator.permutation(side)[: min(size, len(side))] for side in sides])
    pixels, labels = pixels[drawn], labels[drawn]
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=rate, weight_decay=0.05)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = rate * warmup_cosine(step / STEPS, 0.1)
        ids = torch.from_numpy(generator.permutation(len(labels))[:BATCH])
        loss = cross_entropy(model(augmented(pixels[ids], ids, seed, step)), labels[ids])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    settle_moments(model, pixels)
    test_pixels, test_labels = images.of_pair(tested, pair)
    with torch.no_grad():
        said = torch.cat([model.eval()(normalised(part)).argmax(dim=1) for part in test_pixels.split(100)])
    right: list[bool] = (said == test_labels).tolist()
    return right


def augmented(pixels: Tensor, ids: Tensor, seed: int, step: int) -> Tensor:
    keys = sample_keys(seed, torch.full_like(ids, step), ids)
    sides = torch.full_like(ids, SIZE)
    boxes = crop_boxes(keys, "crop", sides, sides, (0.5, 1.0))
    return normalised(resized_crop(pixels, boxes, SIZE, uniform(keys, "flip", 1)[:, 0] < 0.5).clamp(0, 255))


def normalised(pixels: Tensor) -> Tensor:
    return pixels / 127.5 - 1


@torch.no_grad()
def settle_moments(model: nn.Module, pixels: Tensor) -> None:
    """Running moments as the mean over one pass of the training images."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.momentum = None  # the mean over all batches
    for part in pixels.split(BATCH):
        model.train()(normalised(part))


def report(folder: Path, name_of_files: str) -> None:
    arms = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    num_pairs = 1 if name_of_files.endswith("xrays") else NUM_PAIRS
    whole = num_pairs * len(SEEDS) * len(SIZES)
    for name in [name for name, runs in arms.items() if len(runs["study"]) < whole]:
        print(f"{name}: {len(arms.pop(name)['study'])} of {whole} runs are there; left out")
    if "scratch" not in arms:
        raise SystemExit("there is nothing to compare with: run trials and study of --arm scratch first")
    scratch = table_of(arms["scratch"]["study"])
    result: dict[str, Any] = {
        "command": " && ".join(" ".join(line.split()) for line in __doc__.splitlines()[2:6]),
        "arms": {},
    }
    result |= {"versions": versions(), "cpu": cpu_name(), "sizes": list(SIZES), "steps": STEPS, "rates": list(RATES)}
    for name, runs in arms.items():
        correct = table_of(runs["study"])
        trials = {
            f"{rate:g}": np.mean([accuracy_of(run) for run in runs["trials"].values() if run["rate"] == rate])
            for rate in RATES
        }
        curve = [figures_of(correct[index], scratch[index]) for index in range(len(SIZES))]
        result["arms"][name] = {"rate": best_rate(runs["trials"]), "accuracy_in_trials": trials, "curve": curve}
        if result["arms"][name]["rate"] in (RATES[0], RATES[-1]):
            print(f"{name}: the best learning rate is at the end of {RATES}")
        result["arms"][name] |= {"runs": runs, "pretraining": pretraining_of(folder / name)}
        for size, point in zip(SIZES, curve, strict=True):
            print(f"{name:9} {size:3} labels {point['accuracy']:.3f}, against scratch {point['gain']}")
    (RESULTS / f"{name_of_files}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    draw(result, name_of_files, num_pairs)


Pairs = list[np.ndarray]


def table_of(study: dict[str, Any]) -> list[Pairs]:
    """For each size, for each pair: (seeds, test images) of 0 and 1."""
    runs = list(study.values())
    pairs = list(dict.fromkeys(tuple(run["pair"]) for run in runs))
    bits = {(run["size"], tuple(run["pair"]), run["seed"]): [int(bit) for bit in run["correct"]] for run in runs}
    return [[np.array([bits[size, pair, seed] for seed in SEEDS]) for pair in pairs] for size in SIZES]


def figures_of(correct: Pairs, scratch: Pairs) -> dict[str, Any]:
    """Accuracy, and the gain over `scratch` with its 95 % interval: pairs are drawn anew, and within each of them seeds and
    test images."""
    generator = np.random.default_rng(0)
    differences = [mine - theirs for mine, theirs in zip(correct, scratch, strict=True)]
    means = []
    for _ in range(RESAMPLES):
        drawn = []
        for pair in generator.integers(len(differences), size=len(differences)):
            seeds, items = (generator.integers(count, size=count) for count in differences[pair].shape)
            drawn.append(differences[pair][seeds][:, items].mean())
        means.append(np.mean(drawn))
    low, high = np.quantile(means, [0.025, 0.975])
    gain = {"mean": float(np.mean([part.mean() for part in differences])), "low": float(low), "high": float(high)}
    of_pairs = [float(part.mean()) for part in correct]
    return {"accuracy": float(np.mean(of_pairs)), "accuracy_of_pairs": of_pairs, "gain": gain}


def pretraining_of(folder: Path) -> dict[str, Any] | None:
    """What the run took and reached."""
    if not (folder / "metrics.jsonl").is_file():
        return None
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if "loss" in row]
    summary = json.loads((folder / "eval" / "summary.json").read_text(encoding="utf-8"))
    minutes = sum(row["time/seconds"] for row in rows) / 60
    figures = {name: rows[-1].get(name) for name in ("step", "epoch", "loss", "accuracy")}
    return figures | {"minutes": minutes, "pretext": summary.get("pretext")}


def draw(result: dict[str, Any], name_of_files: str, num_pairs: int) -> None:
    figure, axis = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for name, arm in result["arms"].items():
        axis.plot(SIZES, [point["accuracy"] for point in arm["curve"]], marker="o", label=name)
    axis.set(xscale="log", xticks=SIZES, xticklabels=SIZES, xlabel="labels a class", ylabel="test accuracy")
    axis.minorticks_off()
    data = "Chest X-rays, mean of" if num_pairs == 1 else f"Two classes of Tiny ImageNet, mean of {num_pairs} pairs and"
    axis.set_title(f"{data} {len(SEEDS)} draws")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(RESULTS / f"{name_of_files}.png", dpi=110)


if __name__ == "__main__":
    main()
