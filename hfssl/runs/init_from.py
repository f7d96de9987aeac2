"""The checkpoint that a run starts from: its config, its processor, and what these dictate to the run."""

import dataclasses
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoConfig, PretrainedConfig

from hfssl.checkpoints.locate import Checkpoint, adapter_of, config_of, find_checkpoint, loading
from hfssl.config.files import model_config_file
from hfssl.config.run_config import RunConfig
from hfssl.config.sections import DataConfig
from hfssl.errors import require


def adopt_checkpoint(run: RunConfig) -> tuple[RunConfig, PretrainedConfig | None]:
    """(the run with the sizes that --init_from or --model_config dictates, the loaded transformers config or None).

    Raises:
        ConfigError: there is no such checkpoint, or the method cannot start from it.
    """
    if run.loop.init_from is not None:
        return adopted(run, start_of(run))
    if run.loop.model_config is None:
        return run, None
    with loading(f"--model_config {run.loop.model_config}"):
        model_config = AutoConfig.from_pretrained(model_config_file(run.loop.model_config))
    method, data = run.method.adopt(run.data, model_config, run.given)
    return dataclasses.replace(run, method=method, data=data, architecture=model_config.to_dict()), model_config


def start_of(run: RunConfig) -> Checkpoint:
    """The checkpoint of --init_from, or of a task's --model; of a run the full pretraining model, where its export has one.

    Raises:
        ConfigError: there is no such checkpoint.
    """
    return find_checkpoint(str(run.loop.init_from), run.method.start_flag, prefers_pretraining=True)


def adopted(run: RunConfig, checkpoint: Checkpoint) -> tuple[RunConfig, PretrainedConfig | None]:
    """The same for a checkpoint that is found already."""
    adapter = adapter_of(checkpoint)
    require(
        adapter is None or adapter.base == checkpoint.location or run.method.takes_adapters,
        f"{checkpoint.said} is an adapter: name a whole model, as --merge exports it",
    )
    model_config = config_of(checkpoint)
    run = _with_whole_path(run)
    method, data = run.method.adopt(run.data, model_config, run.given)
    data = data.adopt_processor(processor_of(checkpoint.location, data), run.given)
    return dataclasses.replace(run, method=method, data=data, architecture=model_config.to_dict()), model_config


def _with_whole_path(run: RunConfig) -> RunConfig:
    """An adapter records the folder that it started from, which only its whole path finds from anywhere."""
    place = Path(str(run.loop.init_from)).expanduser()
    if not place.exists():
        return run
    return dataclasses.replace(run, loop=dataclasses.replace(run.loop, init_from=str(place.absolute())))


def processor_of(name: str, data: DataConfig) -> Any:
    """What brings the checkpoint's processor to the run's settings, as `adopt_processor` takes it."""
    if data.processor_class is None:
        return name
    try:
        return getattr(transformers, data.processor_class).from_pretrained(name)
    except (OSError, ValueError):
        return None  # it brings none: the run's own settings are used then
