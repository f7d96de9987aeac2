"""Fine-tuning from a Run to a classifier that strangers load: data with labels, training, export, report, in this order."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from transformers import AutoModelForImageClassification

from hfssl.config import Run, require
from hfssl.data.labelled import Labelled, class_names_of
from hfssl.data.source import Source
from hfssl.evaluation.classification import classification_summary, probabilities_of
from hfssl.evaluation.pixels import pixel_blocks
from hfssl.intervals import interval_of
from hfssl.objective import Objective
from hfssl.publishing import figures
from hfssl.publishing.classification_figures import calibration_figure, confusion_figure, mistakes_figure
from hfssl.publishing.export import write_export
from hfssl.run_dir import RunDir
from hfssl.running import carry_out
from hfssl.session import OPENERS, adopt_checkpoint, quieten_libraries, reported
from hfssl.training.accelerator import start
from hfssl.training.loop import Session

Array = np.ndarray[Any, Any]


def finetune(objective_class: type[Objective], run: Run) -> RunDir:
    """Fine-tune as `run` says, or go on where an earlier process stopped; raises what `pretrain.pretrain` raises."""
    with reported(run.from_command_line):
        accelerator = start(run.loop)
        quieten_libraries()
        try:
            return _finetune(objective_class, run, accelerator)
        finally:
            accelerator.end_training()


def _finetune(objective_class: type[Objective], run: Run, accelerator: Accelerator) -> RunDir:
    run.method.check_model(run.loop.model_config)
    require(run.loop.init_from is None, "--init_from has no effect: name the checkpoint with --model")
    run = dataclasses.replace(run, loop=dataclasses.replace(run.loop, init_from=run.method.model))
    run, model_config = adopt_checkpoint(run)
    if run.method.class_names is None:
        names = class_names_of(OPENERS[run.method.modality](run.data))
        run = dataclasses.replace(run, method=dataclasses.replace(run.method, class_names=tuple(names)))
    return carry_out(objective_class, run, model_config, accelerator, finish=_finish, summarise=_print_summary)


def _finish(session: Session) -> None:
    """Export, test rows classified by it as a stranger would, figures, summary. For the main process alone."""
    run, run_dir = session.run, session.run_dir
    write_export(session.objective.eval().export(), run_dir.export)
    figures.loss_curve(run_dir)
    source: Source = OPENERS[run.method.modality](run.data)
    tested = source.held_out
    if tested is None:
        run_dir.write_summary({"data": source.name, "classes": list(run.method.class_names), "rows": 0})
        _print_summary(run_dir)
        return
    examples = session.rows.spec.prepare(tested)
    assert isinstance(examples, Labelled)
    logits_MC = np.concatenate(list(_logits(run_dir, examples, session.accelerator.device)))
    summary = classification_summary(probabilities_of(logits_MC), examples.numbers_N, list(run.method.class_names))
    confusion_figure(run_dir, summary)
    calibration_figure(run_dir, summary)
    mistakes_figure(run_dir, summary, lambda row: examples.examples[row])
    run_dir.write_summary(summary | {"data": source.name, "test_split": tested.split})
    _print_summary(run_dir)


@torch.inference_mode()
def _logits(run_dir: RunDir, examples: Labelled, device: torch.device) -> Iterator[Array]:
    model: Any = AutoModelForImageClassification.from_pretrained(run_dir.export)
    model.to(device).eval()
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(run_dir.export)
    for block in pixel_blocks(examples.examples, processor, 256, device):
        if block.pixel_values is not None:
            yield model(pixel_values=block.pixel_values.to(device)).logits.float().cpu().numpy()


def _print_summary(run_dir: RunDir) -> None:
    summary = run_dir.read_summary()
    assert summary is not None
    if summary["rows"]:
        low, high = interval_of(summary["accuracy"], summary["rows"])
        print(f"accuracy on {summary['rows']} rows of {summary['test_split']}: {summary['accuracy']:.3f}")
        print(
            f"95 % interval {low:.3f} to {high:.3f}; always saying the commonest {summary['most_frequent_share']:.3f}"
        )
        print(f"macro F1 {summary['macro_f1']:.3f}, calibration error {summary['calibration_error']:.3f}")
    print(f"export      {run_dir.export}")
