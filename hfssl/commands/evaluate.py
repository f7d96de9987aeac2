"""Evaluate any checkpoint on labelled images, texts or recordings: kNN, linear probe, label curve, with baselines.

The protocol stands in docs/guides/evaluation.md and in every file that this writes.
"""

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import issparse

from hfssl.checkpoints.locate import Checkpoint, find_checkpoint, input_of
from hfssl.config.invocation import this_command
from hfssl.console import quieten_libraries
from hfssl.data.provenance import is_public
from hfssl.data.source import Source
from hfssl.data.splits import held_out_rows
from hfssl.errors import require
from hfssl.evaluation.audio_modality import AudioModality
from hfssl.evaluation.duplicates import SIMILARITY, same_features, same_samples
from hfssl.evaluation.evaluate_config import EvaluateConfig
from hfssl.evaluation.feature_scores import spread_of
from hfssl.evaluation.image_modality import ImageModality
from hfssl.evaluation.knn import knn_predictions
from hfssl.evaluation.label_curve import Curve, interval, label_curve, paired_difference, rows_of_size
from hfssl.evaluation.linear_probe import fitted_probe
from hfssl.evaluation.modality import Features, Further, LabelledSamples, Modality, last_layer
from hfssl.evaluation.table import layout_of_evaluation, terminal_lines
from hfssl.evaluation.text_modality import TextModality
from hfssl.figures import curves as figures
from hfssl.objective import Array
from hfssl.run_dir import Json, JsonView, RunDir, write_text
from hfssl.runs.closing import line_of
from hfssl.training.start import versions

_MODALITIES: tuple[Modality[Any, Any], ...] = (ImageModality(), TextModality(), AudioModality())
UNTRAINED = "untrained"
EVALUATED = "evaluated"


class _Opened(NamedTuple):
    """A checkpoint with its encoder, on `device`."""

    checkpoint: Checkpoint
    modality: Modality[Any, Any]
    encoder: Any
    device: torch.device


class Split(NamedTuple):
    """Samples and class numbers of one side."""

    samples: Any
    labels: Array


def evaluate(config: EvaluateConfig) -> Json:
    """Evaluate, print the table, write JSON and figures; returns what the JSON holds.

    Raises:
        ConfigError: the checkpoint or the labels do not allow it.
    """
    quieten_libraries()
    if config.cpu_threads is not None:
        torch.set_num_threads(config.cpu_threads)
    checkpoint = find_checkpoint(str(config.model))
    opened = _open(checkpoint, config)
    modality = opened.modality
    train, test, classes, split = _labelled_splits(opened, config)
    features, further, seconds = _all_features(opened, train, test, config)
    result = _scored(features, train, test, config, opened.device)
    result["near_duplicates_in_test"] = _near_duplicates(modality, train, test, features[EVALUATED][0])
    result |= further.figures | {"notes": further.notes}
    result |= {"model": checkpoint.name, "pooling": modality.pooling(opened.encoder)}
    result |= {"data": Path(str(config.dataset)).name}
    result |= {"classes": [str(label) for label in classes], "split": split, "seconds_of_features": seconds}
    result |= {"local": not is_public(str(config.dataset))}
    protocol = dict(modality.protocol) | dict(modality.checkpoint_protocol)
    result |= {"protocol": protocol, "versions": versions(), "command": this_command()}
    folder = _write(config, result)
    for line in _table(result):
        print(line)
    print(f"written to {folder}")
    return result


def _open(checkpoint: Checkpoint, config: EvaluateConfig) -> _Opened:
    """The checkpoint, by what it reads. Flags of another modality are refused before it is loaded."""
    reads = input_of(checkpoint)
    known = {modality.reads: modality for modality in _MODALITIES}
    require(reads in known, f"{checkpoint.name} reads {reads}: name a checkpoint that reads images, texts or waveforms")
    for modality in _MODALITIES:
        for name in modality.own_flags:
            is_used = getattr(config, name) is None or reads == modality.reads
            require(is_used, f"--{name} has no effect: {checkpoint.name} reads {reads}; leave it out")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return _Opened(checkpoint, known[reads], known[reads].open_encoder(checkpoint.location, device), device)


def _labelled_splits(opened: _Opened, config: EvaluateConfig) -> tuple[Split, Split, Array, str]:
    """(train, test, class names, how they were split)."""
    train, test, how = _sides(opened, config)
    assert train.labels is not None
    assert test.labels is not None
    classes, numbers = np.unique(train.labels, return_inverse=True)
    unseen = sorted(set(test.labels.tolist()) - set(classes.tolist()))
    require(not unseen, f"test rows have labels that no training row has: {unseen[:5]}")
    for size in config.label_sizes:
        rows_of_size(train.labels, size, seed=0)  # a size that does not fit is refused before hours of features
    return Split(train, numbers), Split(test, np.searchsorted(classes, test.labels)), classes, how


def _sides(opened: _Opened, config: EvaluateConfig) -> tuple[LabelledSamples, LabelledSamples, str]:
    """Training and test samples: the data's own splits, or one split in two."""
    source = opened.modality.open_data(config, opened.encoder)
    require(source.label_column is not None, "the data has no column of class labels: name one with --label_column")
    train = _samples(opened, source)
    if source.test is not None:
        require(
            config.group_column is None,
            f"--group_column has no effect: the data brings its own split {source.test.split}",
        )
        how = f"the data's own: {source.split} and {source.test.split}"
        return train, _samples(opened, source.test), how
    groups = None if config.group_column is None else source.column_values(config.group_column)[train.rows]
    assert train.labels is not None
    held_out = held_out_rows(train.labels, groups, config.test_share, seed=0)
    by = "class" if groups is None else f"class, whole groups of {config.group_column} on one side"
    return train.part(~held_out), train.part(held_out), f"made here: {config.test_share:.0%} held out by {by}, seed 0"


def _samples(opened: _Opened, source: Source) -> LabelledSamples:
    """All samples of a labelled split. What is wrong with its labels is said before anything is decoded."""
    labels = source.labels()
    withheld = f"labels of the split {source.split} are missing, or withheld as -1: name another split or column"
    require(labels is not None, withheld)
    assert labels is not None
    only = np.unique(labels)
    require(len(only) >= 2, f"all rows of the split {source.split} have the label {only[0]}: nothing to tell apart")
    samples: LabelledSamples = opened.modality.samples_of(source, opened.encoder)
    require(len(samples) > 0, f"no {opened.modality.samples} of the split {source.split} can be decoded")
    return samples


def _all_features(
    opened: _Opened, train: Split, test: Split, config: EvaluateConfig
) -> tuple[dict[str, list[Features]], Further, float]:
    """({features: those of each seed}, further figures of the evaluated checkpoint, seconds of its features)."""
    modality, sides, batch_size = opened.modality, (train.samples, test.samples), config.batch_size
    features = {name: [floor] for name, floor in modality.baselines(*sides).items()}
    features[UNTRAINED] = []
    for seed in range(min(3, config.num_seeds)):
        untrained = modality.untrained_encoder(opened.checkpoint.location, seed, opened.device)
        train_ND, test_MD = (last_layer(modality.encode(untrained, side, batch_size)) for side in sides)
        features[UNTRAINED].append(Features(train_ND, test_MD))
    start = time.perf_counter()
    train_encoded, test_encoded = (modality.encode(opened.encoder, side, batch_size) for side in sides)
    seconds = time.perf_counter() - start
    features[EVALUATED] = [Features(last_layer(train_encoded), last_layer(test_encoded))]
    of_layers = modality.layer_figures((train_encoded, test_encoded), (train.samples.labels, test.samples.labels))
    of_checkpoint = modality.checkpoint_figures(opened.checkpoint.location, opened.encoder, sides, config)
    figures, notes = of_layers.figures | of_checkpoint.figures, of_layers.notes + of_checkpoint.notes
    return features, Further(figures, notes), seconds


def _scored(
    features: Mapping[str, list[Features]], train: Split, test: Split, config: EvaluateConfig, device: torch.device
) -> Json:
    rows, curves = [], {}
    for name, seeds in features.items():
        first = seeds[0]
        knn = [float((knn_predictions(a, train.labels, b, device) == test.labels).mean()) for a, b, _ in seeds]
        hits = [fitted_probe(a, train.labels, kind).predict(b) == test.labels for a, b, kind in seeds]
        probes = [float(correct.mean()) for correct in hits]
        curves[name] = label_curve(
            *(first.train_ND, train.labels, first.test_MD, test.labels),
            sizes=config.label_sizes,
            num_seeds=config.num_seeds,
            whole_M=hits[0],
            probe=first.probe,
        )
        spread = {"warnings": []} if issparse(first.train_ND) else spread_of(first.train_ND)
        row = {"features": name, "width": first.train_ND.shape[1], "knn": float(np.mean(knn))}
        row |= {"linear": float(np.mean(probes)), "linear_of_seeds": probes} | spread
        if name != EVALUATED:
            row["warnings"] = []
        rows.append(row | {"curve": _points(curves[name], curves, name)})
    counts = {"train_rows": len(train.labels), "test_rows": len(test.labels)}
    counts["bad_rows"] = train.samples.num_bad + test.samples.num_bad
    return {"rows": rows, "label_sizes": list(config.label_sizes)} | counts


def _near_duplicates(modality: Modality[Any, Any], train: Split, test: Split, features: Features) -> Json:
    return {
        "by_hash": int(same_samples(train.samples.hashes, test.samples.hashes).sum()),
        "hash_of": modality.hashed_by,
        "by_features": int(same_features(features.train_ND, features.test_MD).sum()),
        "similarity": SIMILARITY,
    }


def _points(curve: Curve, curves: Mapping[str, Curve], name: str) -> list[Json]:
    """A point for each size; the evaluated encoder's also hold its paired gain over the untrained one."""
    points = []
    for index, (total, correct) in enumerate(zip(curve.sizes, curve.correct, strict=True)):
        low, high = interval(correct)
        point: Json = {"labels": total, "accuracy": float(correct.mean()), "low": low, "high": high}
        if name == EVALUATED:
            gain = paired_difference(correct, curves[UNTRAINED].correct[index])
            point["gain_over_untrained"] = dict(zip(("mean", "low", "high"), gain, strict=True))
        points.append(point)
    return points


def _write(config: EvaluateConfig, result: JsonView) -> Path:
    run_dir = RunDir(Path(str(config.model)))
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{result['model']}")
    default = run_dir.path / "eval" if run_dir.is_run() else Path(f"eval-{safe}")
    folder = default if config.output_dir is None else Path(config.output_dir)
    name = "evaluate-" + re.sub(r"[^A-Za-z0-9._-]+", "-", str(result["data"]))
    write_text(folder / f"{name}.json", json.dumps(result, indent=1) + "\n")
    try:
        figures.label_curves(folder / f"{name}.png", result["rows"], str(result["data"]))
    except Exception as error:  # whatever it is, the scores stay
        print(f"warning: the figure of the label curves could not be made: {line_of(error)}")
    return folder


def _table(result: JsonView) -> list[str]:
    lines = terminal_lines(layout_of_evaluation(result))
    last = result["rows"][-1]
    gain = last["curve"][0]["gain_over_untrained"]
    lines.append(
        f"with {last['curve'][0]['labels']} labels the encoder is worth {100 * gain['mean']:+.1f} points over an untrained one "
        f"(95 % interval {100 * gain['low']:+.1f} to {100 * gain['high']:+.1f})"
    )
    doubles = result["near_duplicates_in_test"]
    lines.append(
        f"{result['train_rows']} training rows, {result['test_rows']} test rows ({result['split']}); near-duplicates of training "
        f"rows among the test rows: {doubles['by_hash']} by {doubles['hash_of']}, {doubles['by_features']} by features"
    )
    return lines + result["notes"] + last["warnings"]
