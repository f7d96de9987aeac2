"""Pretraining from a Run to a folder that strangers load: data, training, export, evaluation and figures, in this order."""

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator

from hfssl.config import Run
from hfssl.data.source import Source
from hfssl.distributed import barrier, is_main_process
from hfssl.objective import Objective
from hfssl.planning import print_opening, settled
from hfssl.publishing.export import write_export
from hfssl.run_dir import RunDir, forget_if_unused
from hfssl.session import (
    OPENERS,
    Interrupted,
    adopt_checkpoint,
    build_objective,
    choose_folder,
    open_session,
    quieten_libraries,
    reported,
)
from hfssl.training.accelerator import start
from hfssl.training.loop import Session, train
from hfssl.training.monitor import WatchedRows, watched_rows
from hfssl.training.start import command_line, environment
from hfssl.training.tracking import open_tracker

if TYPE_CHECKING:
    from hfssl.evaluation.image_table import Encoded
    from hfssl.evaluation.images import Images

_PICTURED_ROWS, _TRIED_ROWS = 8, 100
_ASKED, _NEAREST, _LONGEST_NAME = 6, 6, 20


def pretrain(objective_class: type[Objective], run: Run) -> RunDir:
    """Pretrain as `run` says, or go on where an earlier process stopped.

    Returns:
        The folder of the finished run.

    Raises:
        ConfigError: the run can not work as configured.
        TrainingError: it could not be finished; what was saved stays.
        Interrupted: it was asked to stop and saved its state.
    """
    with reported(run.from_command_line):
        accelerator = start(run.loop)
        quieten_libraries()
        try:
            return _pretrain(objective_class, run, accelerator)
        finally:
            accelerator.end_training()


def _pretrain(objective_class: type[Objective], run: Run, accelerator: Accelerator) -> RunDir:
    run, model_config = adopt_checkpoint(run)
    started, lock = choose_folder(run)
    run_dir = started.run_dir
    if started.finished:
        _print_summary(run_dir)
        return run_dir
    try:
        run = settled(objective_class, run, model_config, started, accelerator)
        session, rehearsal = open_session(objective_class, run, model_config, started, accelerator)
        open_tracker(accelerator, run, run_dir, session.state.step)
    except BaseException:
        if is_main_process():
            forget_if_unused(run_dir)
        raise
    if is_main_process():
        run_dir.write_config(run.stored())
        if session.state.step < session.max_steps:
            run_dir.forget_summary()
        run_dir.write_environment(environment(accelerator))
        run_dir.drop_metrics_after(session.state.step)
        print_opening(session, rehearsal, started)
    barrier()
    signal_number = train(session)
    if signal_number is not None:
        raise Interrupted(signal_number, _how_to_go_on(run, run_dir))
    if is_main_process():
        _finish(objective_class, session, model_config)  # the other ranks leave without waiting
    if lock is not None:
        lock.release()
    return run_dir


def _how_to_go_on(run: Run, run_dir: RunDir) -> str:
    command = command_line()
    if run.loop.output_dir is None:
        command += f" --output_dir {run_dir.path}"
    return f"stopped and saved; to go on:\n  {command}"


def _finish(objective_class: type[Objective], session: Session, model_config: Any) -> None:
    """Export, evaluate, draw, and print the table. For the main process alone."""
    from hfssl.evaluation.image_table import (  # scikit-learn and matplotlib: not before the first step
        encoded_images,
        image_table,
    )
    from hfssl.publishing import figures
    from hfssl.publishing.card import write_card
    from hfssl.publishing.report import write_report

    run, run_dir, objective = session.run, session.run_dir, session.objective.eval()
    write_export(objective.export(), run_dir.export)
    figures.loss_curve(run_dir)
    figures.watch_curve(run_dir)
    source = OPENERS[objective.modality](run.data)
    spec = session.rows.spec
    _draw_pictures(session)
    print("evaluating the export ...", flush=True)
    scratch = Path(tempfile.mkdtemp(prefix="hfssl-"))
    try:
        untrained = build_objective(objective_class, run, spec, model_config, load=True, verbose=False)
        write_export(untrained.export(), scratch / "untrained")
        before = "untrained" if run.loop.init_from is None else "before this run"
        encoders = {before: scratch / "untrained", "pretrained": run_dir.export}
        encoded = encoded_images(encoders, source, source.held_out, run.data.num_channels, session.accelerator.device)
    finally:
        shutil.rmtree(scratch)
    table = image_table(encoded, encoders, source, source.held_out)
    draw_neighbours(run_dir, encoded, source)
    rows = run_dir.training_rows()
    table |= {"steps": session.state.step, "samples_seen": session.state.samples_seen, "final_loss": rows[-1]["loss"]}
    run_dir.write_summary(table)
    write_report(run_dir)
    write_card(run_dir)
    _print_summary(run_dir)


def _draw_pictures(session: Session) -> None:
    """Pictures of held-out rows where there are some, of training rows else."""
    from hfssl.publishing import figures

    watched = session.monitor.held_out if session.monitor else _first_rows(session)
    examples = [watched.rows.examples[row] for row in watched.good[:_PICTURED_ROWS].tolist()]
    batch = watched.rows.spec.eval_transform(examples)
    on_device = {name: tensor.to(session.accelerator.device) for name, tensor in batch.items()}
    for picture in session.objective.illustrate(on_device):
        figures.picture(session.run_dir, picture)


def draw_neighbours(run_dir: RunDir, encoded: "Encoded", source: Source) -> None:
    """figures/neighbours.png: the training images that the encoder finds most like a few held-out ones, or like others of
    their own where nothing is held out; with their classes, or else their row numbers."""
    from hfssl.evaluation.neighbours import nearest_rows, nearest_to
    from hfssl.publishing.sheet import Cell, image_sheet, nearest_lines, shrunk

    train_ND, test_MD = encoded.features["pretrained"]
    num = min(_NEAREST, len(train_ND) - 1)
    if num < 1:
        return
    asked = encoded.test or encoded.train
    if test_MD is None:
        found = nearest_rows(train_ND, num, of=range(min(_ASKED, len(train_ND))))
    else:
        found = nearest_to(test_MD[:_ASKED], train_ND, num)

    def cell(images: "Images", index: int, framed: bool) -> Cell:
        name = f"row {images.rows[index]}" if images.labels is None else source.label_name(images.labels[index])
        return Cell(shrunk(images[index]), name[:_LONGEST_NAME], framed)

    queries = [cell(asked, index, True) for index in range(len(found.rows_MK))]
    lines = nearest_lines(queries, *found, lambda index, similarity: cell(encoded.train, index, False))
    image_sheet(run_dir.figures / "neighbours.png", lines)


def _first_rows(session: Session) -> WatchedRows:
    return watched_rows(session.rows, None, torch.arange(min(_TRIED_ROWS, len(session.rows.examples))))


def _print_summary(run_dir: RunDir) -> None:
    from hfssl.evaluation.image_table import table_lines

    summary = run_dir.read_summary()
    if summary is None or not is_main_process():
        return
    print()
    for line in table_lines(summary):
        print(line)
    print()
    for line in _closing_lines(run_dir, summary):
        print(line)


def _closing_lines(run_dir: RunDir, summary: dict[str, Any]) -> list[str]:
    lines = [f"{summary['train_rows']} training rows, {summary['test_rows']} test rows of {summary['data']}"]
    scores = {row["features"]: row for row in summary["rows"]}
    pixels, pretrained = scores["raw pixels"], scores["pretrained"]
    if "knn" in pretrained and pixels["knn"] >= pretrained["knn"]:
        lines.append(
            "raw pixels are a strong floor on data this easy: the gain over the untrained encoder is what to look at"
        )
    if "knn" not in pretrained:
        lines.append("no scores: the data has no labels or no held-out split (test or validation)")
    export, recipe = run_dir.export, run_dir.read_config()["recipe"]
    lines += [
        f"export      {export}   loads with AutoModel.from_pretrained({str(export)!r}, add_pooling_layer=False)",
        f"figures     {run_dir.figures}",
        f"report      {run_dir.report_file}",
        f"card        {run_dir.card_file}",
    ]
    if summary["data"].startswith("demo:"):
        lines.append(f"next        accelerate launch recipes/{recipe}.py --dataset path/to/your/data")
    else:
        lines.append(
            f"next        accelerate launch recipes/{recipe}.py --init_from {run_dir.path} --dataset path/to/more/data"
        )
    lines.append(f"            python recipes/export.py --run {run_dir.path} --step N   (an earlier checkpoint)")
    return lines
