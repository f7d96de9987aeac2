"""Pretraining, from a RunConfig to a stock model: data, training, export, evaluation and figures, in this order."""

import dataclasses
import importlib
import tempfile
from functools import partial
from pathlib import Path

from hfssl.checkpoints.exports import write_export
from hfssl.config.invocation import command, launched_command
from hfssl.config.run_config import RunConfig
from hfssl.console import quieten_libraries
from hfssl.data.source import Source
from hfssl.distributed import is_main_process
from hfssl.evaluation.table import summary_lines, unscored
from hfssl.objective import Objective
from hfssl.run_dir import Json, RunDir
from hfssl.runs.closing import Closing, export_run, written_lines
from hfssl.runs.context import RunContext
from hfssl.runs.init_from import adopt_checkpoint
from hfssl.runs.open_session import OPENERS, build_objective
from hfssl.runs.train_run import train_run
from hfssl.training.accelerator import start
from hfssl.training.loop import Session


def pretrain(objective_class: type[Objective], run: RunConfig) -> RunDir:
    """Pretrain as `run` says, or resume an interrupted run.

    Returns:
        The folder of the finished run.

    Raises:
        ConfigError: the run cannot work as configured.
        TrainingError: it could not be finished; what was saved stays.
        Interrupted: it was asked to stop and saved its state.
    """
    accelerator = start(run.loop)
    quieten_libraries()
    try:
        context = RunContext(objective_class, *adopt_checkpoint(run), accelerator)
        return train_run(context, finish=partial(_finish, context), summarise=_print_summary)
    finally:
        accelerator.end_training()


def _finish(context: RunContext, session: Session) -> None:
    """Export, evaluate, draw, and print the table. For the main process only."""
    from hfssl.figures import curves as figures

    run, run_dir = session.run, session.run_dir
    export_run(session.objective.eval().export(), run_dir)
    closing = Closing(run_dir)
    closing.attempt("loss curve", lambda: figures.loss_curve(run_dir, run.method.loss_unit))
    closing.attempt("curve of the validation", lambda: figures.watch_curve(run_dir))
    nothing_scored = unscored(run.data.dataset, len(session.rows.examples))
    table = closing.attempt("final evaluation", lambda: _table(context, session, closing)) or nothing_scored
    rows = run_dir.training_rows()
    table |= {"steps": session.state.step, "samples_seen": session.state.samples_seen, "final_loss": rows[-1]["loss"]}
    closing.finish(table)
    closing.write_pages()
    _print_summary(run_dir)


def _table(context: RunContext, session: Session, closing: Closing) -> Json:
    """The results table of the export, and of the encoder as it was before."""
    run, objective = session.run, session.objective
    final_table = importlib.import_module(f"hfssl.runs.final_evaluation.{objective.modality}").final_table
    with tempfile.TemporaryDirectory(prefix="hfssl-") as scratch:
        untrained = build_objective(context.with_run(run), session.rows.pipeline, load=True, verbose=False)
        write_export(untrained.export(), Path(scratch) / "untrained")
        before = "untrained" if run.loop.init_from is None else "before this run"
        encoders = {before: Path(scratch) / "untrained", "pretrained": session.run_dir.export}
        table: Json = final_table(session, _source_of_scores(run, objective.modality), encoders, closing)
    return table


def _source_of_scores(run: RunConfig, modality: str) -> Source:
    """All rows of the training split with a split that was not trained on; where there is none, the validation rows
    are scored."""
    whole = OPENERS[modality](dataclasses.replace(run.data, validation_share=0.0))
    return whole if whole.test is not None else OPENERS[modality](run.data)


def _print_summary(run_dir: RunDir) -> None:
    summary = run_dir.read_summary()
    if summary is None or not is_main_process():
        return
    print()
    for line in summary_lines(summary):
        print(line)
    print()
    for line in _closing_lines(run_dir, summary):
        print(line)


def _is_adapter(export: Path) -> bool:
    from hfssl.checkpoints.exports import describe_export

    exported = describe_export(export)
    return exported is not None and exported.base is not None


def _loaded_by(export: Path) -> str:
    from hfssl.checkpoints.exports import describe_export
    from hfssl.reporting.usage import auto_class, opening

    exported = describe_export(export)
    if exported is None:
        return f'AutoModel.from_pretrained("{export}")'
    if exported.base is None:
        return opening(exported, str(export))
    return f'peft: PeftModel.from_pretrained({auto_class(exported)}.from_pretrained("{exported.base}"), "{export}")'


def _closing_lines(run_dir: RunDir, summary: Json) -> list[str]:
    from hfssl.reporting.facts import facts_of, remark
    from hfssl.reporting.scores import pretext_lines
    from hfssl.reporting.text_examples import example_lines

    lines = [f"warning: {text}" for text in facts_of(run_dir).alarms]
    lines += [f"{summary['train_rows']} training rows, {summary['test_rows']} test rows of {summary['data']}"]
    lines += summary.get("notes", []) + example_lines(summary) + pretext_lines(summary)
    if summary.get("test_rows_were_watched"):
        lines.append(f"the scored rows ({summary['test_split']}) are also the validation rows of the training")
    lines += [hint] if (hint := remark(summary)) else []
    if not any("knn" in row for row in summary["rows"]):
        lines.append("no scores: the data has no labels or no split to score (test or validation)")
    export, recipe = run_dir.export, run_dir.read_config()["recipe"]
    lines += [f"export      {export}   loads with {_loaded_by(export)}", *written_lines(run_dir)]
    if summary["data"].startswith("demo:"):
        following = launched_command(recipe, "--dataset", "path/to/your/data")
    else:
        following = launched_command(recipe, "--init_from", str(run_dir.path), "--dataset", "path/to/more/data")
    tuning = command("finetune", "--model", str(run_dir.path), "--dataset", "path/to/labelled/data")
    exporting = command("export", "--run", str(run_dir.path))
    lines += [
        f"next        {following}",
        f"            {tuning}",
        f"            {exporting} --step N   (an earlier checkpoint)",
    ]
    if _is_adapter(export):
        lines.append(f"            {exporting} --merge   (the whole model, which needs no peft)")
    return lines
