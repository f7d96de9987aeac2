"""Fine-tuning from a Run to a model that strangers load: labelled rows divided, training, export, scores, in this order."""

from typing import Any

import torch
from accelerate import Accelerator

from hfssl.checkpoints.adapter_files import adapter_at
from hfssl.checkpoints.exports import write_export
from hfssl.config.invocation import command
from hfssl.config.run_config import RunConfig
from hfssl.console import quieten_libraries
from hfssl.data.head_inputs import HeadInputsPipeline
from hfssl.data.source import Source
from hfssl.distributed import is_main_process
from hfssl.evaluation.scoring.output_types import scoring_of
from hfssl.figures import curves as figures
from hfssl.predicting.adapted import open_adapted_model
from hfssl.reporting.card import write_card
from hfssl.reporting.report import write_report
from hfssl.run_dir import RunDir
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
from hfssl.training.accelerator import start
from hfssl.training.loop import Session

_BLOCK = 64


def finetune(task_class: type[Task], run: RunConfig) -> RunDir:
    """Fine-tune as `run` says, or go on where an earlier process stopped; raises what `pretrain.pretrain` raises."""
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
    if run.method.label_fractions is not None:
        run_dir = study(context)
        if is_main_process():
            print(f"report      {write_report(run_dir)}")
        return run_dir
    return train_run(context, finish=_finish, summarise=_print_summary)


def _finish(session: Session) -> None:
    """The best step's weights exported, the test rows answered by the export, scores, pictures, report and card.

    For the main process alone.
    """
    run, run_dir, state, task = session.run, session.run_dir, session.state, session.objective
    load_best(session)
    write_export(task.eval().export(), run_dir.export)
    figures.loss_curve(run_dir, run.method.loss_unit)
    figures.score_curve(run_dir, state.best_step)
    opened = open_divided(run)
    summary: dict[str, Any] = {
        "data": run.data.dataset,
        "notes": opened.notes,
        "rows": [],
        "output_type": run.method.output_type,
    }
    summary |= {"train_rows": len(opened.source), "steps": state.step, "samples_seen": state.samples_seen}
    summary |= {"best_step": state.best_step, "best_score": state.best_reached and state.best_reached[0]}
    summary |= {
        "chosen_by": scoring_of(run.method.output_type).CHOSEN_BY,
        "warnings": class_warnings(run, opened.source),
    }
    if opened.source.test is not None:
        scores = scored_by_export(session, opened.source.test)
        summary |= {"scores": scores, "test_rows": scores["rows"], "test_split": opened.source.test.split}
    run_dir.write_summary(summary)
    write_report(run_dir)
    write_card(run_dir)
    _print_summary(run_dir)


def scored_by_export(session: Session, tested: Source) -> dict[str, Any]:
    """What the exported model, opened as a stranger would, gets right on labelled rows, with pictures in the run folder."""
    run, run_dir, device = session.run, session.run_dir, session.accelerator.device
    task: Any = session.objective
    pipeline: Any = session.rows.pipeline
    pipeline = pipeline.whole if isinstance(pipeline, HeadInputsPipeline) else pipeline
    task.model = _open_export(task.auto_class, run_dir).to(device).eval()
    examples = pipeline.whole_examples(tested)
    answers, rows = predictions_on(task, pipeline, examples, device)
    scoring = scoring_of(run.method.output_type)
    summary = scoring.final_scores(run_dir, run.method, answers, lambda place: pipeline.shown(examples[rows[place]]))
    return summary | {"unreadable_rows": len(tested) - len(rows)}


def _open_export(auto_class: Any, run_dir: RunDir) -> Any:
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
    print(f"figures     {run_dir.figures}")
    print(f"report      {run_dir.report_file}")
    print(f"card        {run_dir.card_file}")
    given = "TABLE" if summary["output_type"] == "spans" else "FILE_OR_FOLDER"
    print(f"next        {command('predict', '--model', str(run_dir.path), '--input', given)}")
