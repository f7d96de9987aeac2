"""What a run on labelled rows needs before and after its training: its model, its rows in three parts, predictions on rows."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model
from transformers import PretrainedConfig

from hfssl.checkpoints.locate import find_checkpoint
from hfssl.config.run_config import RunConfig
from hfssl.data.labelled_splits import Divided, divided
from hfssl.data.labels import class_counts, class_names_of, class_numbers, imbalance_sentence, refuse_unseen
from hfssl.data.source import Source
from hfssl.distributed import is_main_process
from hfssl.errors import TrainingError, one_line, require
from hfssl.objective import BadRowError, DataPipeline, Examples
from hfssl.runs.init_from import adopt_checkpoint, adopted
from hfssl.runs.open_session import open_labelled
from hfssl.tasks.task import Task
from hfssl.tasks.task_config import TaskConfig, task_settings
from hfssl.training.checkpoint import weights_file
from hfssl.training.loop import Session

_BLOCK = 64


def with_model(run: RunConfig) -> tuple[RunConfig, PretrainedConfig | None]:
    """(the run with the sizes that --model or --model_config dictates, the loaded transformers config).

    Raises:
        ConfigError: neither or both are named, or it cannot be loaded.
    """
    settings = task_settings(run)
    is_stored = settings.model is not None and run.loop.init_from == settings.model  # as config.yaml of a run has it
    require(run.loop.init_from is None or is_stored, "--init_from has no effect: name the checkpoint with --model")
    settings.check_model(run.loop.model_config)
    if settings.model is None:
        return adopt_checkpoint(run)
    checkpoint = find_checkpoint(settings.model)
    method = dataclasses.replace(settings, model=checkpoint.location)
    loop = dataclasses.replace(run.loop, init_from=checkpoint.location)
    return adopted(dataclasses.replace(run, method=method, loop=loop), checkpoint)


def open_divided(run: RunConfig) -> Divided:
    """The labelled rows to train on, to choose by and to score on."""
    return divided(open_labelled(run), run)


def with_classes(task_class: type[Task], run: RunConfig, source: Source) -> RunConfig:
    """The run with what the training rows tell its task: classes, tags, a vocabulary."""
    settings: TaskConfig = task_class.with_rows(task_settings(run), source)
    if settings.output_type == "classes" and settings.class_names is None:
        settings = dataclasses.replace(settings, class_names=tuple(class_names_of(source)))
    return dataclasses.replace(run, method=settings)


def check_and_say(task_class: type[Task], run: RunConfig, opened: Divided) -> None:
    """Say what is known of the rows. Raises ConfigError where labels are missing, or not those of the training rows."""
    said = [*opened.notes, *_unscored(opened.source)]
    for side in (opened.source, opened.source.validation, opened.source.test):
        said += [] if side is None else task_class.check_rows(run.method, side)
    if (names := task_settings(run).class_names) is not None and task_settings(run).output_type == "classes":
        check_all_are_learned(opened.source, names)
    if not is_main_process():
        return
    for sentence in said:
        print(f"rows        {sentence}")
    if names is None or task_settings(run).output_type != "classes":
        return
    counts_C = class_counts(class_numbers(opened.source, names), len(names))
    parts = [f"{name} {count}" for name, count in zip(names[:10], counts_C.tolist(), strict=False)]
    print(f"classes     {', '.join(parts)}{f' and {len(names) - 10} more' if len(names) > 10 else ''}")
    for sentence in class_warnings(run, opened.source):
        print(f"            {sentence}")


def check_all_are_learned(source: Source, names: Sequence[str]) -> None:
    """Raise ConfigError where rows that are not trained on are of a class that no training row is of."""
    has_rows_C = class_counts(class_numbers(source, names), len(names)) > 0
    for side in (source.validation, source.test):
        if side is not None:
            found = Counter(names[number] for number in class_numbers(side, names).tolist() if not has_rows_C[number])
            refuse_unseen(side, found)


def _unscored(source: Source) -> list[str]:
    """Splits whose labels are withheld. Raises ConfigError where some of their rows have one."""
    for split, (missing, total) in source.passed_over.items():
        require(
            missing == total,
            f"{missing} of {total} rows of the split {split} have no label: leave them out, or the split",
        )
    return [f"the split {split} has no labels: it is not scored" for split in source.passed_over]


def class_warnings(run: RunConfig, source: Source) -> list[str]:
    """What to know of the training rows' classes."""
    names = task_settings(run).class_names
    if names is None or task_settings(run).output_type != "classes":
        return []
    sentence = imbalance_sentence(class_counts(class_numbers(source, names), len(names)), names)
    return [] if sentence is None else [sentence]


def load_best(session: Session) -> None:
    """Give the task the weights of the step that did best on the validation rows."""
    state = session.state
    if state.best_step is not None and state.best_step != state.step:
        file = weights_file(session.run_dir, state.best_step)
        try:
            load_model(session.objective, file, strict=True)
        except (OSError, RuntimeError, SafetensorError) as error:
            raise TrainingError(
                f"{file}, the weights that did best on the validation rows, cannot be loaded ({one_line(error)})"
            ) from error


class Answered(NamedTuple):
    """predictions: of a task, one for each of `rows`, the numbers of those that could be read."""

    predictions: list[Any]
    rows: list[int]


@torch.inference_mode()
def predictions_on(task: Task, pipeline: DataPipeline, examples: Examples, device: torch.device) -> Answered:
    """What a task in eval mode says of labelled examples, whole and without chance."""
    found = Answered([], [])
    for rows, block in _readable_blocks(examples):
        batch = {name: tensor.to(device) for name, tensor in pipeline.eval_transform(block).items()}
        found.predictions.extend(task.predictions(batch))
        found.rows.extend(rows)
    require(bool(found.rows), "no row to score can be read")
    return found


def _readable_blocks(examples: Examples) -> Iterator[tuple[list[int], list[Any]]]:
    """(row numbers, examples) in blocks, without those that cannot be read."""
    rows: list[int] = []
    block: list[Any] = []
    for row in range(len(examples)):
        try:
            block.append(examples[row])
            rows.append(row)
        except BadRowError:
            continue
        if len(block) == _BLOCK:
            yield rows, block
            rows, block = [], []
    if block:
        yield rows, block
