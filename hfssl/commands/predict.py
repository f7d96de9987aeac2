"""Answers of a fine-tuned model to files, texts and recordings: a row for each input, in order, as CSV or JSONL.

What the columns mean stands in docs/guides/predicting.md.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import torch

from hfssl.checkpoints.locate import find_checkpoint
from hfssl.console import quieten_libraries
from hfssl.errors import require
from hfssl.predicting.batches import Answer, answers
from hfssl.predicting.heads import HEADS, Head
from hfssl.predicting.inputs import Inputs, open_inputs
from hfssl.predicting.opened import describe, open_model
from hfssl.predicting.predict_config import PredictConfig
from hfssl.predicting.rows_file import rows_file

_NAMED = 10
_SECONDS_A_LINE = 10.0


def predict(config: PredictConfig) -> Path:
    """Write a row for each input; returns the file.

    Raises:
        ConfigError: the checkpoint has no trained head of a task, there is nothing to predict, or a setting means nothing.
    """
    quieten_libraries()
    if config.cpu_threads is not None:
        torch.set_num_threads(config.cpu_threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    described = describe(find_checkpoint(str(config.model)))
    _check_flags(config, described.head)
    kind = described.head.reads
    inputs = open_inputs(config, kind)
    opened = open_model(described, config, device)
    answered = _announced(answers(opened, inputs, config.batch_size), inputs, kind)
    _write(answered, opened.answers.columns, Path(config.output), kind)
    return Path(config.output)


def _check_flags(config: PredictConfig, head: Head) -> None:
    """Raise ConfigError for what means something for other kinds of predictions only."""
    for name in sorted(frozenset[str]().union(*(other.answers.FLAGS for other in HEADS)) - head.answers.FLAGS):
        is_given = getattr(config, name) is not None
        says = head.answers.__name__.lower()
        require(not is_given, f"--{name} has no effect: the model answers with {says}; leave it out")


def _write(answered: Iterator[Answer], columns: list[str], output: Path, kind: str) -> None:
    num_rows, num_bad = 0, 0
    named: list[str] = []
    with rows_file(output, ["input", *columns, "error"]) as write:
        for name, said, error in answered:
            num_rows += 1
            if said is not None:
                write({"input": name} | said)
                continue
            write({"input": name, "error": error})
            num_bad += 1
            if num_bad <= _NAMED:
                named.append(f"no prediction: {name} {error}")
    for line in named:
        print(line)
    if num_bad:
        print(f"{num_bad} of {num_rows} {kind} have an error instead of a prediction")
    print(f"{num_rows} rows written to {output}")


def _announced(answered: Iterator[Answer], inputs: Inputs, kind: str) -> Iterator[Answer]:
    """The same, with a line every few seconds."""
    of_all = "" if inputs.total is None else f" of {inputs.total}"
    said = time.monotonic()
    for done, answer in enumerate(answered, start=1):
        yield answer
        if time.monotonic() - said > _SECONDS_A_LINE:
            said = time.monotonic()
            print(f"{done}{of_all} {kind} predicted", flush=True)
