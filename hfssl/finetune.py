"""Fine-tuning from a Run to a classifier that strangers load: data with labels, training, export, report, in this order."""

import dataclasses

from accelerate import Accelerator

from hfssl.config import Run, require
from hfssl.data.labelled import class_names_of
from hfssl.objective import Objective
from hfssl.publishing.export import write_export
from hfssl.run_dir import RunDir
from hfssl.running import carry_out
from hfssl.session import OPENERS, adopt_checkpoint, quieten_libraries, reported
from hfssl.training.accelerator import start
from hfssl.training.loop import Session


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
    write_export(session.objective.eval().export(), session.run_dir.export)


def _print_summary(run_dir: RunDir) -> None:
    print(f"export      {run_dir.export}")
