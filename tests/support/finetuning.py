"""Small checkpoints and fine-tuning sessions on real digits, for the laws."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, ViTConfig, ViTImageProcessor, ViTModel

from hfssl import catalog
from hfssl.config.parse import make_run
from hfssl.config.run_config import RunConfig
from hfssl.config.sections import LoopConfig, OptimConfig
from hfssl.data.images.config import ImageDataConfig
from hfssl.run_dir import RunDir
from hfssl.runs import open_session as session
from hfssl.runs.context import RunContext
from hfssl.training.accelerator import start
from hfssl.training.checkpoint import TrainState
from hfssl.training.loop import Session, prepare
from hfssl.training.start import Start
from hfssl.training.step import StepContext
from tests.support.laboratory import few_rows_with_test

CLASSES = tuple(str(digit) for digit in range(10))
VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
VIT |= {"image_size": 8, "patch_size": 4}


def write_encoder(folder: Path, pooling: str = "cls", **config: Any) -> Path:
    """A ViT of random weights, as a run exports it."""
    torch.manual_seed(1)
    model = ViTModel(ViTConfig(**(VIT | config)), add_pooling_layer=False)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.config.hfssl_pooling = pooling
    model.save_pretrained(folder)
    ViTImageProcessor(size={"height": 8, "width": 8}, resample=3).save_pretrained(folder)
    return folder


def task_run(folder: Path, model: Path, task: dict[str, Any] | None = None, **loop: Any) -> RunConfig:
    """A tiny fine-tuning run from `model`; keywords go to LoopConfig."""
    config_class = catalog.task_config_of("image_classification")
    settings: dict[str, Any] = {"output_dir": str(folder), "max_steps": 6, "global_batch_size": 8, "log_every": 2}
    settings |= {"save_every": 100, "evaluate_every": 100, "cpu_threads": 1} | loop
    chosen: dict[str, Any] = {"model": str(model), "class_names": CLASSES} | (task or {})
    if chosen.get("adaptation") == "frozen":
        chosen["augmentation"] = "plain"
    config = dataclasses.replace(config_class.tiny(), **chosen)
    optim = OptimConfig(base_learning_rate=0.01, warmup_fraction=0.2)
    return make_run(config, ImageDataConfig.tiny(), optim, LoopConfig(**settings))


def open_task(
    folder: Path, model: Path, task: dict[str, Any] | None = None, state: TrainState | None = None, **loop: Any
) -> Session:
    """A session as fine-tuning opens it."""
    run = task_run(folder, model, task, init_from=str(model), **loop)
    started = Start(RunDir(folder), state, [])
    config = AutoConfig.from_pretrained(model)
    open_rows = session.open_rows
    session.open_rows = lambda run: few_rows_with_test()  # 40 digits to train on, 24 to look at
    try:
        opened, _ = session.open_session(
            RunContext(catalog.task("image_classification")[1], run, config, start(run.loop)), started
        )
    finally:
        session.open_rows = open_rows
    return opened


def ready(opened: Session) -> StepContext:
    parts = prepare(opened)
    opened.objective.train()
    return parts
