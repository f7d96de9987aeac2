"""Small sessions that train adapters in tiny stock models, for the laws."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hfssl.checkpoints.exports import write_export
from hfssl.run_dir import RunDir
from hfssl.runs import open_session as session
from hfssl.runs.context import RunContext
from hfssl.runs.init_from import adopt_checkpoint
from hfssl.training.accelerator import start
from hfssl.training.loop import Session
from hfssl.training.start import Start
from hfssl.training.step import StepContext, train_step
from tests.support.laboratory import classes, open_small, ready, run_of, steps_of, use_few_rows

METHOD_OF = {"bert": "mlm", "modernbert": "mlm", "gpt2": "clm", "llama": "clm"}


def write_base(model_type: str, folder: Path) -> Path:
    """The export of an untrained model of this type, to adapt."""
    opened = open_small(METHOD_OF[model_type], folder / "run", method={"model_type": model_type})
    write_export(opened.objective.export(), folder / "base")
    return folder / "base"


def open_adapted_run(
    base: Path, folder: Path, started: Start | None = None, method: dict[str, Any] | None = None, **loop: Any
) -> Session:
    """A session that continues from `base`, whose parent folder is named after its type, with adapters of rank 4."""
    use_few_rows()
    name = METHOD_OF[base.parent.name]
    settings = {"lora": True, "lora_rank": 4} | (method or {})
    run = run_of(name, folder, settings, init_from=str(base), **loop)
    run, model_config = adopt_checkpoint(run)
    started = started or Start(RunDir(folder), None, [])
    opened, _ = session.open_session(RunContext(classes(name)[1], run, model_config, start(run.loop)), started)
    return opened


def fill_adapters(opened: Session) -> None:
    """Adapters that change what the model computes, the same at each call."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in opened.objective.named_parameters():
            if ".lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)


def trained(opened: Session, num_steps: int = 3) -> StepContext:
    """After a few steps at a high learning rate."""
    parts = ready(opened)
    for step, batches in enumerate(steps_of(opened, num_steps)):
        for group in parts.optimizer.param_groups:
            group["lr"] = 3e-2
        train_step(parts, batches, step=step, progress=step / num_steps, stop=False)
    return parts


def some_ids(opened: Session) -> Tensor:
    """Ordinary tokens, (B, T) int64."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(5, len(opened.rows.pipeline.processor), (2, 12), generator=generator)
