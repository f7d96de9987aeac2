"""Evaluate any image checkpoint on labelled images: kNN, linear probe, label curve, collapse, beside honest floors.

The protocol stands in docs/evaluation.md and in every file that this writes.
"""

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from hfssl.config import require
from hfssl.data.image import open_images
from hfssl.data.source import Source
from hfssl.evaluate_config import EvaluateConfig
from hfssl.evaluation.duplicates import SIMILARITY, same_features, same_pixels
from hfssl.evaluation.features import Encoder, image_features, open_checkpoint, untrained_encoder
from hfssl.evaluation.image_table import PROTOCOL
from hfssl.evaluation.images import Images, floors
from hfssl.evaluation.knn import knn_predictions
from hfssl.evaluation.label_curve import Curve, interval, label_curve, paired_difference, rows_of_size
from hfssl.evaluation.linear_probe import fitted_probe
from hfssl.evaluation.splits import held_out_rows
from hfssl.nn.collapse import collapse_warnings, feature_std, rank_me
from hfssl.publishing import figures
from hfssl.run_dir import RunDir, write_text
from hfssl.session import quieten_libraries, reported
from hfssl.training.start import command_line, versions

Array = np.ndarray[Any, Any]
UNTRAINED = "untrained"
EVALUATED = "evaluated"


class Split(NamedTuple):
    """Images and class numbers of one side."""

    images: Images
    labels: Array


def evaluate(wanted: EvaluateConfig, from_command_line: bool = True) -> dict[str, Any]:
    """Evaluate, print the table, write JSON and figures; returns what the JSON holds.

    Raises:
        ConfigError: the checkpoint or the labels do not allow it.
    """
    with reported(from_command_line):
        quieten_libraries()
        if wanted.cpu_threads is not None:
            torch.set_num_threads(wanted.cpu_threads)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        checkpoint, encoder = open_checkpoint(str(wanted.model), wanted.num_channels, device)
        train, test, classes, split = _labelled_splits(wanted)
        features, seconds = _all_features(encoder, checkpoint.location, train, test, wanted)
        result = _scored(features, train, test, wanted, device)
        result |= {"model": checkpoint.name, "pooling": encoder.pooling, "data": Path(str(wanted.dataset)).name}
        result |= {"classes": [str(label) for label in classes], "split": split, "seconds_of_features": seconds}
        result |= {"local": Path(str(wanted.dataset)).expanduser().exists()}
        result |= {"protocol": PROTOCOL, "versions": versions(), "command": command_line()}
        folder = _write(wanted, result)
        for line in _table(result):
            print(line)
        print(f"written to {folder}")
        return result


def _labelled_splits(wanted: EvaluateConfig) -> tuple[Split, Split, Array, str]:
    """(train, test, class names, how they were split)."""
    train, test, how = _sides(wanted)
    assert train.labels is not None
    assert test.labels is not None
    classes, numbers = np.unique(train.labels, return_inverse=True)
    unseen = sorted(set(test.labels.tolist()) - set(classes.tolist()))
    require(not unseen, f"test rows have labels that no training row has: {unseen[:5]}")
    for size in wanted.label_sizes:
        rows_of_size(train.labels, size, seed=0)  # a size that does not fit is refused before hours of features
    return Split(train, numbers), Split(test, np.searchsorted(classes, test.labels)), classes, how


def _sides(wanted: EvaluateConfig) -> tuple[Images, Images, str]:
    """Training and test images: the data's own splits, or one split in two."""
    source = open_images(wanted.image_data())
    require(source.label_column is not None, "the data has no column of class labels: name one with --label_column")
    train = _images(source, wanted)
    if source.held_out is not None:
        require(
            wanted.group_column is None,
            f"--group_column has no effect: the data brings its own split {source.held_out.split}",
        )
        return train, _images(source.held_out, wanted), f"the data's own: {source.split} and {source.held_out.split}"
    groups = None if wanted.group_column is None else source.column_values(wanted.group_column)[train.rows]
    assert train.labels is not None
    held_out = held_out_rows(train.labels, groups, wanted.test_share, seed=0)
    by = "class" if groups is None else f"class, whole groups of {wanted.group_column} on one side"
    return train.part(~held_out), train.part(held_out), f"made here: {wanted.test_share:.0%} held out by {by}, seed 0"


def _images(source: Source, wanted: EvaluateConfig) -> Images:
    """All images of a labelled split. What is wrong with its labels is said before anything is decoded."""
    labels = source.labels()
    withheld = f"labels of the split {source.split} are missing, or withheld as -1: name another split or column"
    require(labels is not None, withheld)
    assert labels is not None
    only = np.unique(labels)
    require(len(only) >= 2, f"all rows of the split {source.split} have the label {only[0]}: nothing to tell apart")
    images = Images(source, wanted.num_channels)
    require(bool(images.rows), f"no image of the split {source.split} can be decoded")
    return images


def _all_features(
    encoder: Encoder, location: str, train: Split, test: Split, wanted: EvaluateConfig
) -> tuple[dict[str, list[tuple[Array, Array]]], float]:
    """({features: a (train, test) pair for each seed}, seconds of the evaluated encoder's)."""
    features: dict[str, list[tuple[Array, Array]]] = {}
    for floor, (train_ND, test_MD) in floors(train.images, test.images).items():
        assert test_MD is not None
        features[floor] = [(train_ND, test_MD)]
    device = next(encoder.model.parameters()).device
    untrained = [untrained_encoder(location, seed, device) for seed in range(min(3, wanted.num_seeds))]
    sides = (train.images, test.images)
    features[UNTRAINED] = [_both(fresh, *sides, wanted.batch_size) for fresh in untrained]
    start = time.perf_counter()
    features[EVALUATED] = [_both(encoder, *sides, wanted.batch_size)]
    return features, time.perf_counter() - start


def _both(encoder: Encoder, train: Images, test: Images, batch_size: int) -> tuple[Array, Array]:
    return image_features(encoder, train, batch_size), image_features(encoder, test, batch_size)


def _scored(
    features: Mapping[str, list[tuple[Array, Array]]],
    train: Split,
    test: Split,
    wanted: EvaluateConfig,
    device: torch.device,
) -> dict[str, Any]:
    rows, curves = [], {}
    for name, pairs in features.items():
        knn = [float((knn_predictions(a, train.labels, b, device) == test.labels).mean()) for a, b in pairs]
        hits = [fitted_probe(a, train.labels).predict(b) == test.labels for a, b in pairs]
        probes = [float(correct.mean()) for correct in hits]
        curves[name] = label_curve(
            *(pairs[0][0], train.labels, pairs[0][1], test.labels),
            sizes=wanted.label_sizes,
            num_seeds=wanted.num_seeds,
            whole_M=hits[0],
        )
        matrix = torch.from_numpy(pairs[0][0])
        rows.append(
            {
                "features": name,
                "width": pairs[0][0].shape[1],
                "knn": float(np.mean(knn)),
                "linear": float(np.mean(probes)),
                "linear_of_seeds": probes,
                "std": feature_std(matrix),
                "rank_me": rank_me(matrix),
                "warnings": collapse_warnings(matrix) if name == EVALUATED else [],
                "curve": _points(curves[name], curves, name),
            }
        )
    train_ND, test_MD = features[EVALUATED][0]
    by_pixels = same_pixels(train.images.hashes, test.images.hashes)
    by_features = same_features(train_ND, test_MD)
    duplicates = {
        "by_pixel_hash": int(by_pixels.sum()),
        "by_features": int(by_features.sum()),
        "similarity": SIMILARITY,
    }
    counts = {"train_rows": len(train.labels), "test_rows": len(test.labels)}
    counts["bad_rows"] = train.images.num_bad + test.images.num_bad
    return {"rows": rows, "near_duplicates_in_test": duplicates, "label_sizes": list(wanted.label_sizes)} | counts


def _points(curve: Curve, curves: Mapping[str, Curve], name: str) -> list[dict[str, Any]]:
    """A point for each size; the evaluated encoder's also hold its paired gain over the untrained one."""
    points = []
    for index, (total, correct) in enumerate(zip(curve.sizes, curve.correct, strict=True)):
        low, high = interval(correct)
        point: dict[str, Any] = {"labels": total, "accuracy": float(correct.mean()), "low": low, "high": high}
        if name == EVALUATED:
            gain = paired_difference(correct, curves[UNTRAINED].correct[index])
            point["gain_over_untrained"] = dict(zip(("mean", "low", "high"), gain, strict=True))
        points.append(point)
    return points


def _write(wanted: EvaluateConfig, result: Mapping[str, Any]) -> Path:
    run_dir = RunDir(Path(str(wanted.model)))
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{result['model']}")
    default = run_dir.path / "eval" if run_dir.config_file.is_file() else Path(f"eval-{safe}")
    folder = default if wanted.output_dir is None else Path(wanted.output_dir)
    name = "evaluate-" + re.sub(r"[^A-Za-z0-9._-]+", "-", str(result["data"]))
    write_text(folder / f"{name}.json", json.dumps(result, indent=1) + "\n")
    figures.label_curves(folder / f"{name}.png", result["rows"], str(result["data"]))
    return folder


def _table(result: Mapping[str, Any]) -> list[str]:
    sizes = [str(point["labels"]) for point in result["rows"][0]["curve"]]
    header = ["features", "width", "kNN", "linear", *(f"{size} labels" for size in sizes), "std", "RankMe"]
    body = []
    for row in result["rows"]:
        points = [f"{point['accuracy']:.3f} [{point['low']:.3f}, {point['high']:.3f}]" for point in row["curve"]]
        figures_of_row = [
            f"{row['knn']:.3f}",
            f"{row['linear']:.3f}",
            *points,
            f"{row['std']:.3f}",
            f"{row['rank_me']:.1f}",
        ]
        body.append([row["features"], str(row["width"]), *figures_of_row])
    widths = [max(len(line[column]) for line in [header, *body]) for column in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [header, *body]
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    last = result["rows"][-1]
    gain = last["curve"][0]["gain_over_untrained"]
    lines.append(
        f"with {last['curve'][0]['labels']} labels the encoder is worth {100 * gain['mean']:+.1f} points over an untrained one "
        f"(95 % interval {100 * gain['low']:+.1f} to {100 * gain['high']:+.1f})"
    )
    doubles = result["near_duplicates_in_test"]
    lines.append(
        f"{result['train_rows']} training rows, {result['test_rows']} test rows ({result['split']}); near-duplicates of training "
        f"rows among the test rows: {doubles['by_pixel_hash']} by pixels, {doubles['by_features']} by features"
    )
    return lines + last["warnings"]
