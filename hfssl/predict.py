"""Predictions of a fine-tuned classifier for files, texts and recordings: a row for each input, in order, as CSV or JSONL.

What the columns mean stands in docs/predicting.md.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import torch

from hfssl.evaluation.features import find_checkpoint
from hfssl.predict_config import PredictConfig
from hfssl.predicting.answers import Answers
from hfssl.predicting.batches import Answer, answers
from hfssl.predicting.classifier import describe, open_classifier
from hfssl.predicting.inputs import Inputs, open_inputs
from hfssl.predicting.rows_file import rows_file
from hfssl.session import quieten_libraries, reported

_NAMED = 10
_SECONDS_A_LINE = 10.0


def predict(wanted: PredictConfig, from_command_line: bool = True) -> Path:
    """Write a row for each input; returns the file.

    Raises:
        ConfigError: the checkpoint has no trained classification head, or there is nothing to predict.
    """
    with reported(from_command_line):
        quieten_libraries()
        if wanted.cpu_threads is not None:
            torch.set_num_threads(wanted.cpu_threads)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        described = describe(find_checkpoint(str(wanted.model)))
        inputs = open_inputs(wanted.input_path, wanted.column, described.kind)
        classifier = open_classifier(described, device)
        columns = Answers(classifier.model.config, wanted.top_k)
        answered = _announced(answers(classifier, inputs, wanted.batch_size), inputs, described.kind)
        _write(answered, columns, Path(wanted.output), described.kind)
        return Path(wanted.output)


def _write(answered: Iterator[Answer], columns: Answers, output: Path, kind: str) -> None:
    num_rows, num_bad = 0, 0
    named: list[str] = []
    with rows_file(output, ["input", *columns.columns, "error"]) as write:
        for name, logits_L, error in answered:
            num_rows += 1
            if logits_L is not None:
                write({"input": name} | columns.of(logits_L))
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
