"""What augmentation costs: images a second beside torchvision's transforms applied one image at a time, and its share of a step.

    python benchmarks/augment.py --rounds 5

- operations and presets: on one thread, 32 px colour images. Ours draw and change a batch of 512 float32 images; torchvision's
  transforms (v2, of the same strengths) take 512 uint8 images one by one, as in a data set's transform. Presets are the whole way
  from uint8 images to normalised float32 views.
- share: drawing and changing 2 views of 256 images at 32 px (preset small), beside forward, backward and AdamW step of a ViT of
  width 192, 6 layers, 3 heads, patch 4 on the same 512 views, on `--threads` threads.
- GPU, where there is one: milliseconds for 2 views of 256 images at 224 px (preset natural), the batch on the device.

Times by the clock are medians of rounds in which all sides take turns, and mean little where others use the machine: threads that
wait for each other then wait for strangers too. Writes benchmarks/results/augment.json.
"""

import argparse
import json
import os
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2
from transformers import ViTConfig, ViTModel

from hfssl.data.images.augmentation import apply, draw, view_keys
from hfssl.data.images.augmentation_config import PRESETS, Augmentation, View, blur_radius
from hfssl.data.images.config import ImageDataConfig
from hfssl.data.images.views import ViewsPipeline
from hfssl.objective import Batch
from hfssl.randomness import sample_keys
from hfssl.training.start import cpu_name, versions

RESULTS = Path(__file__).resolve().parent / "results" / "augment.json"
NUM, SIZE, GPU_SIZE = 256, 32, 224
MOST_SHARE, MOST_GPU_MS = 0.03, 10.0
ALWAYS: dict[str, dict[str, Any]] = {
    "brightness": {"jitter_probability": 1.0, "brightness": 0.4},
    "contrast": {"jitter_probability": 1.0, "contrast": 0.4},
    "saturation": {"jitter_probability": 1.0, "saturation": 0.4},
    "hue": {"jitter_probability": 1.0, "hue": 0.1},
    "colour jitter": {"jitter_probability": 1.0, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    "greyscale": {"grey_probability": 1.0},
    "blur": {"blur_probability": 1.0},
    "solarise": {"solarise_probability": 1.0},
    "affine": {"affine_probability": 1.0, "rotation": 15.0, "translation": 0.1, "scaling": (0.9, 1.1), "shear": 10.0},
    "noise": {"noise_probability": 1.0, "noise_sigma": (0.1, 0.1)},
}


def main() -> None:
    arguments = _parsed()
    load = os.getloadavg()[0]
    images = torch.randint(0, 256, (2 * NUM, 3, SIZE, SIZE), dtype=torch.uint8)
    torch.set_num_threads(1)
    operations = {name: _rates(_operation(name, images), arguments.rounds, 2 * NUM) for name in ALWAYS}
    presets = {name: _rates(_preset(name, images[:NUM]), arguments.rounds, 2 * NUM) for name in ("small", "digits")}
    for name, rates in {**operations, **presets}.items():
        print(f"{name:14} {rates['hfssl']:9.0f} images/s  torchvision {rates['torchvision']:7.0f}", flush=True)
    torch.set_num_threads(arguments.threads)
    share = _share_of_a_step(images[:NUM], arguments.rounds)
    print(f"share of a step {share['share']:.1%}")
    report: dict[str, Any] = {
        "command": f"python {shlex.join(['benchmarks/augment.py', *sys.argv[1:]])}",
        "versions": versions(),
        "cpu": cpu_name(),
        "threads_of_the_step": arguments.threads,
        "load_before": load,
        "images_per_second_operations": operations,
        "images_per_second_presets": presets,
        "step": share | {"goal": MOST_SHARE, "met": share["share"] <= MOST_SHARE},
        "gpu": _on_gpu(arguments.rounds) if torch.cuda.is_available() else None,
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"written to {arguments.output}")


def _operation(name: str, images: Tensor) -> dict[str, Callable[[], Any]]:
    augmentation = Augmentation(**ALWAYS[name])
    keys = view_keys(_keys(2 * NUM), "views", 1)
    pixels, stock = images / 255, v2.Compose(stock_transforms(augmentation, SIZE)[1:-2])
    return {
        "hfssl": lambda: apply(pixels, draw([augmentation], keys)),
        "torchvision": lambda: [stock(image) for image in images],
    }


def _preset(name: str, images: Tensor) -> dict[str, Callable[[], Any]]:
    pipeline = _spec(name, SIZE)
    stock = v2.Compose(stock_transforms(PRESETS[name], SIZE))  # type: ignore[index]
    return {
        "hfssl": lambda: pipeline.augment(_collated(pipeline, images), 0.0),
        "torchvision": lambda: torch.stack([stock(image) for image in images for _ in range(2)]),
    }


def stock_transforms(augmentation: Augmentation, size: int) -> list[Any]:
    """torchvision's transforms of the same probabilities and strengths; crop first, conversion and normalisation last."""
    own = augmentation
    jitter = v2.ColorJitter(own.brightness, own.contrast, own.saturation, own.hue)
    moves = (own.translation, own.translation)
    affine = v2.RandomAffine(own.rotation, moves, own.scaling, own.shear, interpolation=v2.InterpolationMode.BILINEAR)
    blur = v2.GaussianBlur(2 * max(1, blur_radius(size)) + 1, own.blur_sigma)
    stages = [
        v2.RandomResizedCrop(size, own.crop_scale, interpolation=v2.InterpolationMode.BICUBIC, antialias=True),
        v2.RandomHorizontalFlip(own.horizontal_flip_probability),
        v2.RandomApply([affine], own.affine_probability),
        v2.RandomApply([jitter], own.jitter_probability),
        v2.RandomGrayscale(own.grey_probability),
        v2.RandomApply([blur], own.blur_probability),
        v2.RandomSolarize(128, own.solarise_probability),
        v2.RandomApply([v2.GaussianNoise(sigma=sum(own.noise_sigma) / 2)], own.noise_probability),
    ]
    used = [stage for stage in stages if getattr(stage, "p", 1.0) > 0]
    return [*used, v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)]


def _spec(name: str, size: int) -> ViewsPipeline:
    pipeline = ViewsPipeline(
        ImageDataConfig(dataset="demo:digits", image_size=size),
        {"global_crops": [View(size, PRESETS[name])] * 2},  # type: ignore[index]
    )
    pipeline.uniform = True
    return pipeline


def _collated(pipeline: ViewsPipeline, images: Tensor) -> Batch:
    keys = _keys(len(images))
    return pipeline.collate(list(images), keys) | {"keys": keys}


def _keys(num: int) -> Tensor:
    return sample_keys(0, torch.zeros(num, dtype=torch.int64), torch.arange(num))


def _share_of_a_step(images: Tensor, rounds: int) -> dict[str, Any]:
    torch.manual_seed(0)
    sizes = {"hidden_size": 192, "num_hidden_layers": 6, "num_attention_heads": 3, "intermediate_size": 768}
    model = ViTModel(ViTConfig(image_size=SIZE, patch_size=4, **sizes), add_pooling_layer=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    pipeline = _spec("small", SIZE)
    batch = _collated(pipeline, images)
    views = pipeline.augment(batch, 0.0)["global_crops"].flatten(0, 1)

    def step() -> None:
        model(views).last_hidden_state.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    sides = {"draw": lambda: _collated(pipeline, images), "change": lambda: pipeline.augment(batch, 0.0), "step": step}
    seconds = _seconds(sides, rounds)
    return {f"seconds_{name}": value for name, value in seconds.items()} | {
        "share": (seconds["draw"] + seconds["change"]) / seconds["step"]
    }


def _on_gpu(rounds: int) -> dict[str, Any]:
    pipeline = _spec("natural", GPU_SIZE)
    images = torch.randint(0, 256, (NUM, 3, GPU_SIZE, GPU_SIZE), dtype=torch.uint8)
    batch = {name: tensor.cuda() for name, tensor in _collated(pipeline, images).items()}
    milliseconds = 1000 * _seconds({"change": lambda: pipeline.augment(batch, 0.0)}, 4 * rounds)["change"]
    met = milliseconds <= MOST_GPU_MS
    return {"name": torch.cuda.get_device_name(), "milliseconds": milliseconds, "goal": MOST_GPU_MS, "met": met}


def _rates(sides: dict[str, Callable[[], Any]], rounds: int, num: int) -> dict[str, float]:
    seconds = _seconds(sides, rounds)
    return {name: num / value for name, value in seconds.items()} | {"ratio": seconds["torchvision"] / seconds["hfssl"]}


def _seconds(sides: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each side, after one round to warm up."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, action in sides.items():
            with torch.set_grad_enabled(name == "step"):
                start = time.perf_counter()
                action()
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
            if number:
                taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in taken.items()}


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", default=5, type=int, metavar="N", help="measured rounds [5]")
    parser.add_argument("--threads", default=2, type=int, metavar="N", help="threads of the training step [2]")
    parser.add_argument("--output", default=RESULTS, type=Path, metavar="FILE", help="JSON file of all figures")
    return parser.parse_args()


if __name__ == "__main__":
    main()
