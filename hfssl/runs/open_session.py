"""From a Run to a Session that can train: the parts that pretraining and fine-tuning open alike."""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from accelerate import Accelerator

from hfssl.config.run_config import RunConfig
from hfssl.data.audio.source import open_recordings
from hfssl.data.images.source import open_images
from hfssl.data.labelled_splits import divided
from hfssl.data.loader import BatchLayout, KeyedDataset
from hfssl.data.provenance import provenance
from hfssl.data.source import Source
from hfssl.data.texts.source import open_texts
from hfssl.distributed import all_gather_objects, broadcast_object, is_main_process
from hfssl.errors import BatchSizeError, ConfigError, SharedError, require
from hfssl.evaluation.scoring.output_types import scoring_of
from hfssl.objective import BadRowError, Batch, DataPipeline, Objective
from hfssl.randomness import combine, stream_id
from hfssl.run_dir import Json
from hfssl.runs.context import Blueprint, RunContext
from hfssl.runs.init_from import start_of
from hfssl.runs.validation import open_labelled_validation, open_monitor
from hfssl.tasks.task_config import task_settings
from hfssl.training.checkpoint import TrainState
from hfssl.training.labelled_validation import BestStep, LabelledValidation
from hfssl.training.loop import Session
from hfssl.training.monitor import Monitor
from hfssl.training.rehearsal import Rehearsal, loss_scale_for, rehearse
from hfssl.training.start import FolderLock, Start, choose, versions

OPENERS: dict[str, Callable[[Any], Source]] = {"image": open_images, "text": open_texts, "audio": open_recordings}

Result = TypeVar("Result")
Watched = TypeVar("Watched", Monitor, LabelledValidation)


class _Data(NamedTuple):
    """What a rank opens: rows to train and to validate on, a first micro-batch, and, on the main process, their origin."""

    rows: KeyedDataset
    monitor: Monitor | None
    scored: LabelledValidation | None
    batch: Batch
    provenance: Json


def open_rows(run: RunConfig) -> Source:
    """The rows that `run` trains on, with its validation and test rows."""
    if not run.method.needs_labels:
        return OPENERS[run.method.modality](run.data)
    return divided(open_labelled(run), run).source


def open_labelled(run: RunConfig) -> Source:
    """The rows of a task with nothing held out of them: of its own columns, or those of its modality.

    Raises:
        ConfigError: they cannot be opened, or labels of those to train on are missing.
    """
    data = dataclasses.replace(run.data, validation_share=0.0)
    source: Source = task_settings(run).open_rows(data, OPENERS[run.method.modality])
    return source


def choose_folder(run: RunConfig) -> tuple[Start, FolderLock | None]:
    """The main process's choice, on every rank, and the lock that it holds (None elsewhere)."""
    choice: Start | ConfigError | None = None
    lock = None
    if is_main_process():
        try:
            choice, lock = choose(run)
        except ConfigError as error:
            choice = error
    choice = broadcast_object(choice)
    if isinstance(choice, ConfigError):
        raise SharedError(str(choice))
    assert choice is not None
    return choice, lock


def open_session(context: RunContext, started: Start, *, verbose: bool = True) -> tuple[Session, Rehearsal]:
    """Data, model and state of a run on this rank, and what one trial micro-batch told. Called by all ranks.

    Raises:
        ConfigError: on every rank, what on one of them cannot work.
    """
    run, accelerator = context.run, context.accelerator

    layout = _layout(run, accelerator)
    data = _on_all_ranks(lambda: _open_data(context, started, layout))
    rows, monitor, scored = data.rows, _agreed(data.monitor), _agreed(data.scored)
    pipeline, num_rows = rows.pipeline, len(rows.examples)
    max_steps = run.loop.max_steps or math.ceil((run.loop.num_epochs or 0) * num_rows / run.loop.global_batch_size)
    state = started.state or TrainState(
        step=0,
        max_steps=max_steps,
        num_rows=num_rows,
        loss_scale=1.0,
        mixed_precision=accelerator.mixed_precision,
        data_path=pipeline.data_path,
    )
    _check_continuation(run, state, max_steps, num_rows, accelerator.mixed_precision, pipeline.data_path)
    state = dataclasses.replace(state, max_steps=max_steps, config_digest=run.digest(), versions=versions())
    is_new = started.state is None
    objective = build_objective(context, pipeline, load=is_new, verbose=verbose and is_main_process())
    if run.loop.gradient_checkpointing:
        objective.enable_gradient_checkpointing()
    objective.to(accelerator.device).train()
    _check_batch(run, objective, layout)
    rehearsal = _on_all_ranks(lambda: _rehearse(accelerator, objective, pipeline, data.batch))
    if is_new:
        state.loss_scale = loss_scale_for(rehearsal.num_targets * layout.num_micro_batches * layout.world_size)
    workers = (
        run.data.num_workers if run.data.num_workers is not None else _choose_workers(pipeline, accelerator.device)
    )
    session = Session(run, started.run_dir, accelerator, objective, rows, layout, workers, state, monitor, scored)
    session.provenance |= data.provenance
    return session, rehearsal


def _open_data(context: RunContext, started: Start, layout: BatchLayout) -> _Data:
    """Rows to train on, rows to watch, and the first batch of this rank."""
    run = context.run
    source = open_rows(run)
    kept = run.data.keeps_processor and started.run_dir.processor.is_dir()
    data = run.data.with_processor(str(started.run_dir.processor)) if kept else run.data
    pipeline = context.objective_class.data_pipeline(run.method, data, source)
    rows = KeyedDataset(pipeline.prepare(source), pipeline, run.loop.seed)
    monitor = scored = None
    if run.method.needs_labels:
        settings = task_settings(run)
        scoring = scoring_of(settings.output_type)
        choice = BestStep(scoring.CHOSEN_BY, settings.early_stopping)
        scored = open_labelled_validation(source, rows, partial(scoring.scores, settings), choice)
    else:
        monitor = open_monitor(source, rows)
    known: Json = {}
    if is_main_process():
        for warning in pipeline.warnings:
            print(f"warning     {warning}", flush=True)
        known = provenance(source) | {"left_out": [*source.reading.warnings, *pipeline.warnings]}
    return _Data(rows, monitor, scored, _first_batch(rows, layout, started), known)


def _check_batch(run: RunConfig, objective: Objective, layout: BatchLayout) -> None:
    """Raise BatchSizeError where a batch of one sample has nothing to compare."""
    joined = layout.per_device_batch_size * layout.world_size
    is_alone = joined == 1 and run.method.default_micro_batch is None and not run.method.needs_labels
    if is_alone and objective.batch_coupled:
        raise BatchSizeError(
            f"{run.recipe} compares the samples of a batch, and a single sample has nothing to be compared with; raise "
            "--per_device_batch_size or --global_batch_size"
        )


def _agreed(validation: Watched | None) -> Watched | None:
    """What is validated on every rank, or on none. Called by all ranks."""
    return None if any(all_gather_objects(validation is None)) or validation is None else validation.agreed()


def _on_all_ranks(action: Callable[[], Result]) -> Result:
    """`action` on every rank; a ConfigError on any of them is raised on all, so that none waits for one that has gone."""
    result, own_error = None, None
    try:
        result = action()
    except ConfigError as error:
        own_error = error
    problems = [text for text in all_gather_objects(own_error and str(own_error)) if text is not None]
    if problems:
        raise SharedError(problems[0]) from own_error
    return result  # type: ignore[return-value]


def _first_batch(rows: KeyedDataset, layout: BatchLayout, started: Start) -> Batch:
    """This rank's first micro-batch, for the rehearsal."""
    step = 0 if started.state is None else started.state.step
    try:
        batch = rows.__getitems__(rows.order.at(layout.positions(step, 0)))
    except BadRowError as error:
        raise ConfigError(f"the data cannot be used: {error}") from error
    del batch["bad_ids"]
    return batch


def _rehearse(accelerator: Accelerator, objective: Objective, pipeline: DataPipeline, batch: Batch) -> Rehearsal:
    on_device = {name: tensor.to(accelerator.device) for name, tensor in batch.items()}
    try:
        return rehearse(accelerator, objective, pipeline.augment, on_device)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise BatchSizeError(
            "a BatchNorm sees a single value a channel: raise --per_device_batch_size, or lower --batch_norm_splits"
        ) from error
    except torch.OutOfMemoryError as error:
        raise ConfigError(
            "one micro-batch does not fit into the device's memory: lower --per_device_batch_size, or set "
            "--gradient_checkpointing"
        ) from error


def build_objective(blueprint: Blueprint, pipeline: DataPipeline, *, load: bool, verbose: bool) -> Objective:
    """The objective at step 0, a pure function of the run's settings; `load` says whether to take --init_from's weights."""
    run = blueprint.run
    torch.manual_seed(combine(run.loop.seed, stream_id("weights")))
    objective = blueprint.objective_class.build(run.method, pipeline, blueprint.model_config)
    if run.loop.init_from is None or not load:
        return objective
    report = objective.load_pretrained(start_of(run).location)
    require(bool(report.loaded), f"--init_from {run.loop.init_from} holds no tensor that fits this model")
    if verbose:
        print(f"{run.method.start_flag.removeprefix('--')} {run.loop.init_from}: {len(report.loaded)} tensors loaded")
        for title, names in (("new", report.new), ("unused", report.unused)):
            print(f"  {title} ({len(names)}): {', '.join(names) or 'none'}")
    return objective


def _layout(run: RunConfig, accelerator: Accelerator) -> BatchLayout:
    world, total = accelerator.num_processes, run.loop.global_batch_size
    require(total % world == 0, f"global_batch_size {total} must be a multiple of the {world} processes")
    per_device = run.loop.per_device_batch_size or run.method.default_micro_batch or total // world
    assert isinstance(per_device, int), "auto is resolved before a session is opened"
    run.method.check_rows_at_once(per_device)
    require(
        total % (per_device * world) == 0,
        f"global_batch_size {total} must be a multiple of per_device_batch_size {per_device} x {world} process(es)",
    )
    return BatchLayout(total, per_device, accelerator.process_index, world)


def _check_continuation(
    run: RunConfig, state: TrainState, max_steps: int, num_rows: int, mixed_precision: str, data_path: str
) -> None:
    require(
        state.num_rows == num_rows,
        f"the run was started on {state.num_rows} rows, {run.data.dataset} has {num_rows}: name another output_dir",
    )
    require(
        state.mixed_precision == mixed_precision,
        f"the run was started in {state.mixed_precision} precision, now it is {mixed_precision}: launch it as before",
    )
    paths = all_gather_objects(data_path)
    require(
        {state.data_path} == set(paths),
        f"the samples of this run are {state.data_path}, now {', '.join(sorted(set(paths)))}: crops would differ; free disk "
        "space for the cache, or set --cache as at the start",
    )
    require(
        state.max_steps == max_steps or run.loop.rescale_schedule,
        f"the run was started for {state.max_steps} steps, now {max_steps}: add --rescale_schedule to change its length",
    )
    require(state.step <= max_steps, f"the run is at step {state.step} already, beyond max_steps {max_steps}")


def _choose_workers(pipeline: DataPipeline, device: torch.device) -> int:
    """The cores that this process may count on, at most 8, for heavy transforms; for light ones, one with a GPU, else none."""
    if pipeline.wants_workers:
        return min(8, torch.get_num_threads())
    return int(device.type != "cpu")
