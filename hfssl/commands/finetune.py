"""Fine-tuning, from a RunConfig to a stock model: labelled rows divided, training, export, scores, in this order."""

import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.auto.auto_factory import _BaseAutoModelClass

from hfssl.checkpoints.adapter_files import adapter_at
from hfssl.config.invocation import command
from hfssl.config.run_config import RunConfig
from hfssl.console import quieten_libraries
from hfssl.data.head_inputs import HeadInputsPipeline, Shows
from hfssl.data.source import Source
from hfssl.distributed import is_main_process
from hfssl.evaluation.scoring.output_types import scoring_of
from hfssl.figures import curves as figures
from hfssl.models.stock_encoder import ready
from hfssl.objective import DataPipeline
from hfssl.predicting.adapted import open_adapted_model
from hfssl.reporting.report import write_report
from hfssl.run_dir import Json, RunDir
from hfssl.runs.closing import Closing, export_run, written_lines
from hfssl.runs.context import RunContext
from hfssl.runs.label_study import study
from hfssl.runs.labelled import (
    check_and_say,
    class_warnings,
    load_best,
    open_divided,
    predictions_on,
    with_classes,
    with_model,
)
from hfssl.runs.train_run import train_run
from hfssl.tasks.task import Task
from hfssl.tasks.task_config import task_settings
from hfssl.training.accelerator import start
from hfssl.training.closing_record import read_record
from hfssl.training.loop import Session

_BLOCK = 64


def finetune(task_class: type[Task], run: RunConfig) -> RunDir:
    """Fine-tune as `run` says, or resume an interrupted run; raises what `pretrain.pretrain` raises."""
    accelerator = start(run.loop)
    quieten_libraries()
    try:
        return _finetune(task_class, run, accelerator)
    finally:
        accelerator.end_training()


def _finetune(task_class: type[Task], run: RunConfig, accelerator: Accelerator) -> RunDir:
    run, model_config = with_model(run)
    opened = open_divided(run)
    run = with_classes(task_class, run, opened.source)
    check_and_say(task_class, run, opened)
    context = RunContext(task_class, run, model_config, accelerator)
    if task_settings(run).label_fractions is not None:
        run_dir = study(context)
        if is_main_process():
            closing = Closing(run_dir, read_record(run_dir).failed)
            if closing.attempt("report", lambda: write_report(run_dir)) is not None:
                print(f"report      {run_dir.report_file}")
        return run_dir
    return train_run(context, finish=_finish, summarise=_print_summary)


def _finish(session: Session) -> None:
    """The best step's weights exported, the test rows answered by the export, scores, pictures, report and card.

    For the main process only.
    """
    run, run_dir, state, task = session.run, session.run_dir, session.state, session.objective
    load_best(session)
    export_run(task.eval().export(), run_dir)
    closing = Closing(run_dir)
    closing.attempt("loss curve", lambda: figures.loss_curve(run_dir, run.method.loss_unit))
    closing.attempt("curve of the scores", lambda: figures.score_curve(run_dir, state.best_step))
    summary: Json = {"data": run.data.dataset, "rows": [], "output_type": task_settings(run).output_type}
    summary |= {"steps": state.step, "samples_seen": state.samples_seen, "train_rows": len(session.rows.examples)}
    summary |= {"best_step": state.best_step, "best_score": state.best_reached and state.best_reached[0]}
    summary |= {"chosen_by": scoring_of(task_settings(run).output_type).CHOSEN_BY, "notes": [], "warnings": []}
    summary |= closing.attempt("scores", lambda: _scores(session, closing)) or {}
    closing.finish(summary)
    closing.write_pages()
    _print_summary(run_dir)


def _scores(session: Session, closing: Closing) -> Json:
    """What is known of the rows, and the scores of the test rows where there are some."""
    opened = open_divided(session.run)
    found: Json = {"notes": opened.notes, "train_rows": len(opened.source)}
    found |= {"warnings": class_warnings(session.run, opened.source)}
    if opened.source.test is not None:
        scores = scored_by_export(session, opened.source.test, closing)
        found |= {"scores": scores, "test_rows": scores["rows"], "test_split": opened.source.test.split}
    return found


def scored_by_export(session: Session, tested: Source, closing: Closing) -> Json:
    """Scores of the exported model, loaded with plain `from_pretrained`, on labelled rows; figures go into the run folder."""
    run, run_dir, device = session.run, session.run_dir, session.accelerator.device
    task, own, settings = session.objective, session.rows.pipeline, task_settings(run)
    assert isinstance(task, Task)
    pipeline: DataPipeline = own.whole if isinstance(own, HeadInputsPipeline) else own
    assert isinstance(pipeline, Shows), "as that of every task"
    task.model = ready(_open_export(task.auto_class, run_dir), device)
    examples = pipeline.whole_examples(tested)
    answers, rows = predictions_on(task, pipeline, examples, device)

    def shown(place: int) -> str | Tensor:
        return pipeline.shown(examples[rows[place]])

    scoring = scoring_of(settings.output_type)
    summary = scoring.final_scores(settings, answers, shown)
    for figure, draw in scoring.drawings(run_dir, answers, summary, shown).items():
        closing.attempt(figure, draw)
    return summary | {"unreadable_rows": len(tested) - len(rows)}


def _open_export(auto_class: type[_BaseAutoModelClass], run_dir: RunDir) -> PreTrainedModel:
    if adapter_at(run_dir.export) is None:
        return auto_class.from_pretrained(run_dir.export, dtype=torch.float32)
    from transformers import AutoConfig

    adapter = adapter_at(run_dir.export)
    assert adapter is not None
    config = AutoConfig.from_pretrained(adapter.base)
    return open_adapted_model(auto_class, str(run_dir.export), config)[0]


def _print_summary(run_dir: RunDir) -> None:
    summary = run_dir.read_summary()
    if summary is None or not is_main_process():
        return
    print()
    scores = summary.get("scores")
    if scores is not None:
        print(f"{scores['rows']} rows of {summary['test_split']}, answered by the export")
        for line in scoring_of(summary["output_type"]).lines(scores):
            print(f"  {line}")
        if scores["unreadable_rows"]:
            print(f"  {scores['unreadable_rows']} rows could not be read and were not scored")
    if summary["best_step"] is not None:
        print(f"weights of step {summary['best_step']} of {summary['steps']}, the best on the validation rows")
    print(f"export      {run_dir.export}")
    print("\n".join(written_lines(run_dir)))
    given = "TABLE" if summary["output_type"] == "spans" else "FILE_OR_FOLDER"
    print(f"next        {command('predict', '--model', str(run_dir.path), '--input', given)}")
