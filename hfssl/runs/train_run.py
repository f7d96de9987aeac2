"""A run from its settings to trained weights on disk: what pretraining and fine-tuning do alike."""

import shlex
from collections.abc import Callable

from hfssl.checkpoints.exports import write_processor
from hfssl.config.invocation import command, is_command, this_command
from hfssl.config.run_config import RunConfig
from hfssl.data.provenance import not_public
from hfssl.distributed import barrier, broadcast_object, is_main_process
from hfssl.errors import ConfigError, Interrupted, SharedError, require
from hfssl.hub.errors import HubError
from hfssl.hub.publication import check_can_push, publish_export
from hfssl.hub.publish_config import PublishConfig
from hfssl.run_dir import RunDir, forget_if_unused
from hfssl.runs.closing import close_again, line_of, log_traceback
from hfssl.runs.context import RunContext
from hfssl.runs.open_session import choose_folder, open_session
from hfssl.runs.planning import print_opening, settled
from hfssl.training.loop import Session, train
from hfssl.training.start import environment
from hfssl.training.tracking import open_tracker


def train_run(
    context: RunContext,
    *,
    finish: Callable[[Session], None],
    summarise: Callable[[RunDir], None],
) -> RunDir:
    """Train, or resume an interrupted run; then `finish`, on the main process only.

    Args:
        summarise: prints what a run that is finished already has found.

    Raises:
        ConfigError, TrainingError, Interrupted: see `pretrain.pretrain`.
    """
    _check_push(context.run)
    started, lock = choose_folder(context.run)
    run_dir = started.run_dir
    if started.finished:
        close_again(run_dir)
        summarise(run_dir)
        _push(context.run, run_dir)
        return run_dir
    try:
        context = settled(context, started)
        run, accelerator = context.run, context.accelerator
        session, rehearsal = open_session(context, started)
        open_tracker(accelerator, run, run_dir, session.state.step)
    except BaseException:
        if is_main_process():
            forget_if_unused(run_dir)
        raise
    if is_main_process():
        run_dir.write_config(run.stored() | {"local": not_public(run.local(), session.provenance)})
        if session.state.step < session.max_steps:
            run_dir.forget_summary()
        if run.data.keeps_processor and not run_dir.processor.is_dir():
            write_processor(session.rows.pipeline.processor, run_dir.processor)
        run_dir.write_environment(environment(accelerator) | {"data": session.provenance})
        run_dir.drop_metrics_after(session.state.step or -1)  # a new run validates at step 0 again
        print_opening(session, rehearsal, started)
    barrier()
    signal_number = train(session)
    if signal_number is not None:
        raise Interrupted(signal_number, _how_to_resume(run, run_dir))
    if is_main_process():
        finish(session)  # the other ranks leave without waiting
        _push(run, run_dir)
    if lock is not None:
        lock.release()
    return run_dir


def _check_push(run: RunConfig) -> None:
    """Raises SharedError now where --push_to_hub would fail at the end."""
    if not run.loop.push_to_hub:
        return
    problem = None
    if is_main_process():
        try:
            _check_adapter(run)
            check_can_push(run.recipe, str(run.loop.hub_model_id), private=run.loop.hub_private)
        except ConfigError as error:
            problem = f"--push_to_hub: {error}"
    problem = broadcast_object(problem)
    if problem is not None:
        raise SharedError(problem)


def _check_adapter(run: RunConfig) -> None:
    require(
        not run.method.exports_adapter or "init_from" not in run.local(),
        f"an adapter of {run.loop.init_from}, which is on this machine only, is useless elsewhere: add --merge, or leave out "
        "--push_to_hub and publish both later",
    )


def _push(run: RunConfig, run_dir: RunDir) -> None:
    if not run.loop.push_to_hub or not is_main_process():
        return
    config = PublishConfig(run=str(run_dir.path), hub_model_id=run.loop.hub_model_id, private=run.loop.hub_private)
    try:
        publish_export(run_dir, run_dir.export, config)
    except Exception as error:  # whatever it is, the run is finished
        if not isinstance(error, ConfigError):
            log_traceback(run_dir, "publication", error)
        private = ["--private"] if run.loop.hub_private else []
        again = command("publish", "--run", str(run_dir.path), "--hub_model_id", str(run.loop.hub_model_id), *private)
        raise HubError(f"{line_of(error)}; the run is finished; publish it with: {again}") from error


def _how_to_resume(run: RunConfig, run_dir: RunDir) -> str:
    if not is_command():
        return f"Checkpoint saved. Resume with the same call and output_dir={str(run_dir.path)!r}."
    folder = "" if run.loop.output_dir is not None else f" --output_dir {shlex.quote(str(run_dir.path))}"
    return f"Checkpoint saved. Resume with:\n  {this_command()}{folder}"
