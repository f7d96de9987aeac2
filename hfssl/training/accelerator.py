"""The one Accelerator of a run, and the launches that it refuses."""

import os
import warnings
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    InitProcessGroupKwargs,
    ProjectConfiguration,
)

from hfssl.config.invocation import asked_processes
from hfssl.config.sections import LoopConfig
from hfssl.errors import require

_SUPPORTED = (DistributedType.NO, DistributedType.MULTI_GPU, DistributedType.MULTI_CPU)


def start(loop: LoopConfig) -> Accelerator:
    """An Accelerator set up as the loop expects it.

    Raises:
        ConfigError: accumulation left to Accelerate, an unsupported distributed type, or fewer processes than launched.
    """
    accumulation = os.environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")
    require(
        accumulation == "1",
        f"ACCELERATE_GRADIENT_ACCUMULATION_STEPS is {accumulation}: leave it at 1 and set --per_device_batch_size, from "
        "which accumulation follows",
    )
    timeout = InitProcessGroupKwargs(timeout=timedelta(seconds=loop.process_group_timeout))
    warnings.filterwarnings("ignore", message=".*broadcast_buffers.*", category=FutureWarning)  # its only spelling here
    ddp = DistributedDataParallelKwargs(broadcast_buffers=False)
    for name in ("FSDP", "DEEPSPEED", "MEGATRON_LM", "PARALLELISM_CONFIG"):
        config = os.environ.get(f"ACCELERATE_USE_{name}", "false").lower() in ("true", "1")
        require(not config, f"{name} is not supported: launch with plain data parallelism (DDP), or one process")
    accelerator = Accelerator(
        gradient_accumulation_steps=1,
        kwargs_handlers=[timeout, ddp],
        log_with=None if loop.report_to == "none" else loop.report_to,
        project_config=ProjectConfiguration(logging_dir="."),  # known and set when the run folder is
    )
    kind = accelerator.distributed_type
    require(
        kind in _SUPPORTED,
        f"distributed type {kind.value} is not supported: use one process or DDP (multi-GPU, multi-CPU)",
    )
    device = accelerator.device.type
    require(
        device in ("cpu", "cuda"), f"the device {device} is not supported: set ACCELERATE_USE_CPU=true to use the CPU"
    )
    launched, asked = int(os.environ.get("WORLD_SIZE", "1")), asked_processes()
    require(
        launched > 1 or asked == 1,
        f"accelerate launch was asked for {asked} processes and started one: add --multi_gpu, or use torchrun "
        f"--nproc_per_node {asked}",
    )
    require(
        accelerator.num_processes == launched,
        f"{launched} processes were launched but Accelerate sees {accelerator.num_processes}: without a GPU, set "
        "ACCELERATE_USE_CPU=true",
    )
    _set_threads(loop)
    return accelerator


def _set_threads(loop: LoopConfig) -> None:
    """The launcher leaves one thread a process; all cores are shared out instead."""
    local_processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(loop.cpu_threads or max(1, cores // local_processes))
