"""What evaluation costs: features beside the bare forward pass, kNN beside scikit-learn's, a label curve.

    python benchmarks/evaluation.py --dataset path/to/cifar10 --rows 50000 --test_rows 10000

PATH is a folder with train.parquet and test.parquet of 32 x 32 colour images in `image` and classes in `label`. The encoder is
a ViT of width 192, 12 layers, patch 4, with random weights, on all cores or on one GPU where there is one.

- features: rows of the Parquet file to pooled features, as recipes/embed.py takes them (read, decode, processor, forward, back on
  the host), beside the same model on the same batches, resident on the device. Every round measures both; the order alternates.
- kNN: the test rows against the training rows, and how far memory grows meanwhile, in a process of its own.
- label curve: 1 %, 5 %, 10 % and 100 % of the labels, 5 draws each, on features that are there already; one search for C beside
  scikit-learn's GridSearchCV on the same rows.

One file, longer than others here, since a measurement should be read whole.
"""

import argparse
import importlib.metadata
import json
import multiprocessing
import os
import platform
import resource
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results" / "evaluation.json"
MOST_TIMES_BARE = 1 / 0.9
MOST_SECONDS_OF_CURVE = 30.0
SIZES = ("1%", "5%", "10%", "100%")
NUM_SEEDS = 5
SEARCHED_ROWS = 5000
IMAGE_SIZE = 32
ENCODER: dict[str, Any] = {
    "image_size": IMAGE_SIZE,
    "patch_size": 4,
    "hidden_size": 192,
    "num_hidden_layers": 12,
    "num_attention_heads": 3,
    "intermediate_size": 768,
}
_PACKAGES = ("torch", "torchvision", "transformers", "datasets", "scikit-learn", "numpy", "hfssl")


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    import torch

    start = time.perf_counter()
    result = action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


def saved_encoder(folder: str) -> str:
    import torch
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    torch.manual_seed(0)
    ViTModel(ViTConfig(**ENCODER), add_pooling_layer=False).save_pretrained(folder)
    ViTImageProcessor(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}).save_pretrained(folder)
    return folder


class FirstRows:
    """The first rows of a split, decoded whenever they are asked for."""

    def __init__(self, dataset: str, split: str, num_rows: int) -> None:
        from hfssl.data.images.cache import DecodedImages
        from hfssl.data.images.config import ImageDataConfig
        from hfssl.data.images.source import open_images

        source = open_images(ImageDataConfig(dataset=dataset, split=split))
        self._images = DecodedImages(source, 3)
        self._num_rows = min(num_rows, len(source))
        labels = source.labels()
        assert labels is not None
        self.labels = labels[: self._num_rows]

    def __len__(self) -> int:
        return self._num_rows

    def __getitem__(self, index: int) -> Any:
        return self._images[index]


def measure_features(encoder: Any, images: FirstRows, batch_size: int, rounds: int) -> tuple[dict[str, Any], Any]:
    """(figures, the features)."""
    import torch

    from hfssl.evaluation.features import image_features
    from hfssl.evaluation.pixels import num_workers

    device = next(encoder.model.parameters()).device
    resident = _resident(encoder, images, batch_size)

    @torch.inference_mode()
    def bare() -> None:
        for pixel_values in resident:
            encoder.model(pixel_values=pixel_values).last_hidden_state[:, 0]

    def ours() -> Any:
        return image_features(encoder, images, batch_size)

    ours_seconds, bare_seconds, features = [], [], None
    image_features(encoder, [images[row] for row in range(min(3 * batch_size, len(images)))], batch_size)  # warm up
    for number in range(rounds):
        for name in ("ours", "bare") if number % 2 else ("bare", "ours"):
            if name == "bare":
                bare_seconds.append(timed(bare)[0])
            else:
                seconds, features = timed(ours)
                ours_seconds.append(seconds)
    ratios = [mine / theirs for mine, theirs in zip(ours_seconds, bare_seconds, strict=True)]
    ratio = statistics.median(ratios)
    figures = {"rows": len(images), "batch_size": batch_size, "worker_processes": num_workers(len(resident), device)}
    figures |= {"seconds": ours_seconds, "seconds_of_bare_forward": bare_seconds, "times_bare_of_rounds": ratios}
    return figures | {"times_bare": ratio, "goal": MOST_TIMES_BARE, "met": ratio <= MOST_TIMES_BARE}, features


def _resident(encoder: Any, images: FirstRows, batch_size: int) -> list[Any]:
    """`pixel_values` of each batch, on the encoder's device."""
    from hfssl.evaluation.pixels import pixel_blocks

    device = next(encoder.model.parameters()).device
    blocks = pixel_blocks(images, encoder.processor, batch_size, device)
    return [block.pixel_values.to(device) for block in blocks if block.pixel_values is not None]


def measure_knn(folder: str, threads: int) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")  # a fresh interpreter, whose memory has seen nothing else
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_knn, args=(folder, threads, sending))
    process.start()
    sending.close()
    figures: dict[str, Any] = receiving.recv()
    process.join()
    return figures


def _knn(folder: str, threads: int, pipe: Any) -> None:
    import numpy as np
    import torch
    from sklearn.neighbors import KNeighborsClassifier

    from hfssl.evaluation.knn import NUM_NEIGHBOURS, knn_predictions

    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = np.load(Path(folder) / "features.npz")
    train, labels, test = data["train"], data["train_labels"], data["test"]
    knn_predictions(train[:100], labels[:100], test[:10], device)  # libraries start their threads and their device
    before = _peak_bytes(device)
    seconds, predicted = timed(lambda: knn_predictions(train, labels, test, device))
    growth = _peak_bytes(device) - before
    stock = KNeighborsClassifier(NUM_NEIGHBOURS, metric="cosine", algorithm="brute").fit(train, labels)
    stock_seconds, _ = timed(lambda: stock.predict(test))
    pipe.send(
        {
            "train_rows": len(train),
            "test_rows": len(test),
            "seconds": seconds,
            "accuracy": float((predicted == data["test_labels"]).mean()),
            "peak_growth_bytes": growth,
            "bytes_of_all_similarities": 4 * len(train) * len(test),
            "seconds_of_scikit_learn": stock_seconds,
            "times_scikit_learn": seconds / stock_seconds,
        }
    )


def _peak_bytes(device: Any) -> int:
    """Of this process so far; on a GPU of its tensors."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure_curve(folder: str) -> dict[str, Any]:
    import numpy as np

    from hfssl.evaluation.label_curve import label_curve
    from hfssl.evaluation.linear_probe import fitted_probe

    data = np.load(Path(folder) / "features.npz")
    parts = tuple(data[name] for name in ("train", "train_labels", "test", "test_labels"))

    def curve() -> Any:
        whole = fitted_probe(*parts[:2]).predict(parts[2]) == parts[3]
        return label_curve(*parts, sizes=SIZES, num_seeds=NUM_SEEDS, whole_M=whole)

    seconds, measured = timed(curve)
    accuracies = [float(correct.mean()) for correct in measured.correct]
    figures = {"train_rows": len(parts[0]), "width": parts[0].shape[1], "classes": len(np.unique(parts[1]))}
    figures |= {"sizes": SIZES, "seeds": NUM_SEEDS, "accuracies": accuracies, "seconds": seconds}
    figures |= {"goal": MOST_SECONDS_OF_CURVE, "met": seconds < MOST_SECONDS_OF_CURVE}
    return figures | {"one_search": _measure_search(*parts[:2])}


def _measure_search(train_ND: Any, train_labels_N: Any) -> dict[str, Any]:
    """The search for C on at most SEARCHED_ROWS rows, beside GridSearchCV over the same folds and strengths."""
    import warnings

    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from hfssl.evaluation.linear_probe import MOST_ITERATIONS, NUM_FOLDS, STRENGTHS, choose_strength

    train_ND, train_labels_N = train_ND[:SEARCHED_ROWS], train_labels_N[:SEARCHED_ROWS]
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=MOST_ITERATIONS))
    folds = StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=0)
    search = GridSearchCV(pipeline, {"logisticregression__C": STRENGTHS}, cv=folds, refit=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stock_seconds, _ = timed(lambda: search.fit(train_ND, train_labels_N))
        seconds, strength = timed(lambda: choose_strength(train_ND, train_labels_N))
    theirs = float(search.best_params_["logisticregression__C"])
    figures = {"rows": len(train_ND), "seconds": seconds, "seconds_of_grid_search": stock_seconds}
    return figures | {"times_grid_search": seconds / stock_seconds, "C": strength, "C_of_grid_search": theirs}


def lines_of(features: Mapping[str, Any], knn: Mapping[str, Any], curve: Mapping[str, Any]) -> list[str]:
    rate = features["rows"] / statistics.median(features["seconds"])
    search = curve["one_search"]
    return [
        f"features     {rate:.0f} images/s, {features['times_bare']:.3f} times the bare forward, "
        f"goal {features['goal']:.3f}  {_verdict(features)}",
        f"kNN          {knn['seconds']:.1f} s for {knn['train_rows']} x {knn['test_rows']}, memory grows by "
        f"{knn['peak_growth_bytes'] / 1e6:.0f} MB, {knn['times_scikit_learn']:.2f} times scikit-learn",
        f"label curve  {curve['seconds']:.1f} s on {curve['train_rows']} rows, goal {curve['goal']:.0f}  {_verdict(curve)}; "
        f"one search for C is {search['times_grid_search']:.2f} times GridSearchCV",
    ]


def _verdict(judged: Mapping[str, Any]) -> str:
    return "met" if judged["met"] else "missed"


def _circumstances(arguments: argparse.Namespace, threads: int) -> dict[str, Any]:
    """Command, versions and hardware, without a path, host or user name."""
    import torch

    from hfssl.training.start import cpu_name

    flags = {"dataset": arguments.dataset.resolve().name, "rows": arguments.rows, "test_rows": arguments.test_rows}
    flags |= {"rounds": arguments.rounds, "batch_size": arguments.batch_size}
    command = ["python", "benchmarks/evaluation.py"]
    for name, value in flags.items():
        command += [f"--{name}", str(value)]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "command": shlex.join(command),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in _PACKAGES},
        "hardware": {"cpu": cpu_name(), "threads": threads, "gpu": gpu},
        "settings": ENCODER | {"precision": "float32"},
    }


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, type=Path, metavar="PATH", help="folder of train and test Parquet")
    parser.add_argument("--output", default=RESULTS, type=Path, metavar="FILE", help="JSON file of all figures")
    parser.add_argument("--rows", default=50_000, type=int, metavar="N", help="training rows [50000]")
    parser.add_argument("--test_rows", default=10_000, type=int, metavar="N", help="test rows [10000]")
    parser.add_argument("--rounds", default=3, type=int, metavar="N", help="of features and bare forward [3]")
    parser.add_argument("--batch_size", default=256, type=int, metavar="N", help="images a forward pass [256]")
    arguments = parser.parse_args()
    for split in ("train", "test"):
        if not (arguments.dataset / f"{split}.parquet").is_file():
            parser.error(f"--dataset {arguments.dataset} holds no {split}.parquet")
    if min(arguments.rows, arguments.test_rows) < 100 or min(arguments.rounds, arguments.batch_size) < 1:
        parser.error("--rows and --test_rows must be at least 100, --rounds and --batch_size at least 1")
    return arguments


def main() -> None:
    arguments = _parsed()
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    load = os.getloadavg()[0]
    import numpy as np
    import torch

    from hfssl.console import quieten_libraries
    from hfssl.evaluation.features import image_features, open_encoder

    quieten_libraries()
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory(prefix="evaluation-") as folder:
        os.environ["HF_DATASETS_CACHE"] = folder
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        encoder = open_encoder(saved_encoder(f"{folder}/encoder"), device)
        train = FirstRows(str(arguments.dataset), "train", arguments.rows)
        test = FirstRows(str(arguments.dataset), "test", arguments.test_rows)
        features, train_ND = measure_features(encoder, train, arguments.batch_size, arguments.rounds)
        test_MD = image_features(encoder, test, arguments.batch_size)
        stored = {"train": train_ND, "train_labels": train.labels, "test": test_MD, "test_labels": test.labels}
        np.savez(f"{folder}/features.npz", **stored)
        knn, curve = measure_knn(folder, threads), measure_curve(folder)
    print(*lines_of(features, knn, curve), sep="\n")
    report = _circumstances(arguments, threads) | {"load_before": load}
    report |= {"features": features, "knn": knn, "label_curve": curve}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
