"""Fine-tuning from a Run to a model that strangers load: labelled rows divided, training, export, scores, in this order."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import load_model

from hfssl.config import Run, require
from hfssl.data.class_balance import class_counts, imbalance_sentence
from hfssl.data.head_inputs import HeadInputsSpec
from hfssl.data.labelled import class_names_of, class_numbers
from hfssl.data.source import Source
from hfssl.distributed import is_main_process
from hfssl.dividing import Divided, divided
from hfssl.nn.adapter_files import CONFIG_FILE, adapter_at
from hfssl.objective import BadRowError
from hfssl.predicting.adapted import open_adapted_classifier
from hfssl.publishing import figures
from hfssl.publishing.export import write_export
from hfssl.run_dir import RunDir
from hfssl.running import carry_out
from hfssl.scoring.kinds import scoring_of
from hfssl.session import adopt_checkpoint, open_labelled, quieten_libraries, reported
from hfssl.task import Task
from hfssl.training.accelerator import start
from hfssl.training.checkpoint import weights_file
from hfssl.training.loop import Session

_BLOCK = 64


def finetune(task_class: type[Task], run: Run) -> RunDir:
    """Fine-tune as `run` says, or go on where an earlier process stopped; raises what `pretrain.pretrain` raises."""
    with reported(run.from_command_line):
        accelerator = start(run.loop)
        quieten_libraries()
        try:
            return _finetune(task_class, run, accelerator)
        finally:
            accelerator.end_training()


def _finetune(task_class: type[Task], run: Run, accelerator: Accelerator) -> RunDir:
    run, model_config = with_model(run)
    opened = open_divided(run)
    run = _with_classes(task_class, run, opened.source)
    if is_main_process():
        _say_what_is_there(run, opened)
    return carry_out(task_class, run, model_config, accelerator, finish=_finish, summarise=_print_summary)


def with_model(run: Run) -> tuple[Run, Any]:
    """(the run with the sizes that --model or --model_config dictates, the loaded transformers config).

    Raises:
        ConfigError: neither or both are named, or it can not be loaded.
    """
    require(run.loop.init_from is None, "--init_from has no effect: name the checkpoint with --model")
    run.method.check_model(run.loop.model_config)
    name = run.method.model
    if name is not None:
        name = _encoder_of(name)
        is_adapter = (_path(name) / CONFIG_FILE).is_file() and not (_path(name) / "config.json").is_file()
        require(
            not is_adapter,
            f"--model {name} is an adapter: merge it first (python recipes/export.py --run RUN --merge) and name that folder",
        )
        method = dataclasses.replace(run.method, model=name)
        run = dataclasses.replace(run, method=method, loop=dataclasses.replace(run.loop, init_from=name))
    run, model_config = adopt_checkpoint(run)
    return run, model_config


def _encoder_of(name: str) -> str:
    """A run folder stands for the root of its export: the model that strangers load."""
    export = RunDir(_path(name)).export
    has_export = (export / "config.json").is_file() or (export / CONFIG_FILE).is_file()
    return str((export if has_export else _path(name)).absolute()) if _path(name).exists() else name


def _path(name: str) -> Any:
    from pathlib import Path

    return Path(name).expanduser()


def open_divided(run: Run) -> Divided:
    """The labelled rows to train on, to choose by and to score on."""
    return divided(open_labelled(run), run)


def _with_classes(task_class: type[Task], run: Run, source: Source) -> Run:
    run = dataclasses.replace(run, method=task_class.with_rows(run.method, source))
    if run.method.kind != "classes" or run.method.class_names is not None:
        return run
    return dataclasses.replace(run, method=dataclasses.replace(run.method, class_names=tuple(class_names_of(source))))


def _say_what_is_there(run: Run, opened: Divided) -> None:
    for note in opened.notes:
        print(f"rows        {note}")
    if run.method.kind != "classes":
        return
    names = run.method.class_names
    counts_C = class_counts(class_numbers(opened.source, names), len(names))
    parts = [f"{name} {count}" for name, count in zip(names[:10], counts_C.tolist(), strict=False)]
    print(f"classes     {', '.join(parts)}{f' and {len(names) - 10} more' if len(names) > 10 else ''}")
    if (sentence := imbalance_sentence(counts_C, names)) is not None:
        print(f"            {sentence}")


def _finish(session: Session) -> None:
    """The best step's weights exported, the test rows answered by the export, scores and pictures. For the main process alone."""
    run, run_dir, state, task = session.run, session.run_dir, session.state, session.objective
    if state.best_step is not None and state.best_step != state.step:
        load_model(task, weights_file(run_dir, state.best_step), strict=True)
    write_export(task.eval().export(), run_dir.export)
    figures.loss_curve(run_dir)
    opened = open_divided(run)
    summary: dict[str, Any] = {"recipe": run.recipe, "data": run.data.dataset, "notes": opened.notes}
    summary |= {"train_rows": len(opened.source), "steps": state.step, "samples_seen": state.samples_seen}
    summary |= {"best_step": state.best_step, "rows": 0}
    if opened.source.held_out is not None:
        scores = scored_by_export(session, opened.source.held_out)
        summary |= scores | {"test_split": opened.source.held_out.split}
    run_dir.write_eval("test", summary)
    run_dir.write_summary(summary)
    _print_summary(run_dir)


def scored_by_export(session: Session, tested: Source) -> dict[str, Any]:
    """What the exported model, opened as a stranger would, gets right on labelled rows, with pictures in the run folder."""
    run, run_dir, device = session.run, session.run_dir, session.accelerator.device
    task: Any = session.objective
    spec: Any = session.rows.spec
    spec = spec.whole if isinstance(spec, HeadInputsSpec) else spec
    task.model = _open_export(task.auto_class, run_dir).to(device).eval()
    examples = spec.samples(tested)
    answers: list[Any] = []
    rows: list[int] = []
    for block_rows, block in _readable_blocks(examples):
        batch = {name: tensor.to(device) for name, tensor in spec.eval_transform(block).items()}
        with torch.inference_mode():
            answers += task.answers(batch)
        rows += block_rows
    require(bool(rows), f"no row of the split {tested.split} can be read: there is nothing to score")
    scoring = scoring_of(run.method.kind)
    summary = scoring.close(run_dir, run.method, answers, lambda place: spec.shown(examples[rows[place]]))
    unreadable = len(tested) - len(rows)
    return summary | {"kind": run.method.kind, "unreadable_rows": unreadable}


def _open_export(auto_class: Any, run_dir: RunDir) -> Any:
    if adapter_at(run_dir.export) is None:
        return auto_class.from_pretrained(run_dir.export, dtype=torch.float32)
    from transformers import AutoConfig

    adapter = adapter_at(run_dir.export)
    assert adapter is not None
    config = AutoConfig.from_pretrained(adapter.base)
    return open_adapted_classifier(auto_class, str(run_dir.export), config)[0]


def _readable_blocks(examples: Any) -> Iterator[tuple[list[int], list[Any]]]:
    """(row numbers, examples) in blocks, without those that can not be read."""
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


def _print_summary(run_dir: RunDir) -> None:
    summary = run_dir.read_summary()
    if summary is None or not is_main_process():
        return
    print()
    if summary["rows"]:
        print(f"{summary['rows']} rows of {summary['test_split']}, answered by the export")
        for line in scoring_of(summary["kind"]).lines(summary):
            print(f"  {line}")
        if summary["unreadable_rows"]:
            print(f"  {summary['unreadable_rows']} rows could not be read and were not scored")
    if summary["best_step"] is not None:
        print(f"weights of step {summary['best_step']} of {summary['steps']}, the best on the validation rows")
    print(f"export      {run_dir.export}")
    print(f"figures     {run_dir.figures}")
    print(f"next        python recipes/predict.py --model {run_dir.path} --input FILE_OR_FOLDER")
