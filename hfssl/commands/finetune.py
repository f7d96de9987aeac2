"""Fine-tuning, from a RunConfig to a stock model: labelled rows divided, training, export, scores, in this order."""

import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.auto.auto_factory import _BaseAutoModelClass

from hfssl.checkpoints.adapter_files import adapter_at
from hfssl.checkpoints.exports import write_export
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
from hfssl.reporting.card import write_card
from hfssl.reporting.report import write_report
from hfssl.run_dir import Json, RunDir
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
            print(f"report      {write_report(run_dir)}")
        return run_dir
    return train_run(context, finish=_finish, summarise=_print_summary)


def _finish(session: Session) -> None:
    """The best step's weights exported, the test rows answered by the export, scores, pictures, report and card.

    For the main process only.
    """
    run, run_dir, state, task = session.run, session.run_dir, session.state, session.objective
    load_best(session)
    write_export(task.eval().export(), run_dir.export)
    figures.loss_curve(run_dir, run.method.loss_unit)
    figures.score_curve(run_dir, state.best_step)
    opened = open_divided(run)
    summary: Json = {
        "data": run.data.dataset,
        "notes": opened.notes,
        "rows": [],
        "output_type": task_settings(run).output_type,
    }
    summary |= {"train_rows": len(opened.source), "steps": state.step, "samples_seen": state.samples_seen}
    summary |= {"best_step": state.best_step, "best_score": state.best_reached and state.best_reached[0]}
    summary |= {
        "chosen_by": scoring_of(task_settings(run).output_type).CHOSEN_BY,
        "warnings": class_warnings(run, opened.source),
    }
    if opened.source.test is not None:
        scores = scored_by_export(session, opened.source.test)
        summary |= {"scores": scores, "test_rows": scores["rows"], "test_split": opened.source.test.split}
    run_dir.write_summary(summary)
    write_report(run_dir)
    write_card(run_dir)
    _print_summary(run_dir)


def scored_by_export(session: Session, tested: Source) -> Json:
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

    summary = scoring_of(settings.output_type).final_scores(run_dir, settings, answers, shown)
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
    print(f"figures     {run_dir.figures}")
    print(f"report      {run_dir.report_file}")
    print(f"card        {run_dir.card_file}")
    given = "TABLE" if summary["output_type"] == "spans" else "FILE_OR_FOLDER"
    print(f"next        {command('predict', '--model', str(run_dir.path), '--input', given)}")
