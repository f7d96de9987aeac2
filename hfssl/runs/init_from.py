"""The checkpoint that a run starts from: its config, its processor, and what these dictate to the run."""

import dataclasses
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoFeatureExtractor, AutoImageProcessor

from hfssl.errors import ConfigError
from hfssl.config.run_config import RunConfig
from hfssl.checkpoints.adapter_files import CONFIG_FILE, adapter_at
from hfssl.run_dir import RunDir
from hfssl.config.files import model_config_file


def adopt_checkpoint(run: RunConfig) -> tuple[RunConfig, Any]:
    """(the run with the sizes that --init_from or --model_config dictates, the loaded transformers config or None)."""
    run = _with_whole_path(run)
    name = run.loop.init_from or run.loop.model_config
    if name is None:
        return run, None
    name = inside_run(name) if run.loop.init_from else model_config_file(name)
    adapter = adapter_at(name) if run.loop.init_from and run.method.takes_adapters else None
    try:
        model_config = AutoConfig.from_pretrained(name if adapter is None else adapter.base)
    except (OSError, ValueError) as error:
        flag = ("model" if run.method.needs_labels else "init_from") if run.loop.init_from else "model_config"
        raise ConfigError(f"--{flag} {name} can not be loaded: {' '.join(str(error).split())[:300]}") from error
    method, data = run.method.adopt(run.data, model_config, run.given)
    if run.loop.init_from:
        data = data.adopt_processor(processor_of(name, run.method.modality), run.given)
    return dataclasses.replace(run, method=method, data=data, architecture=model_config.to_dict()), model_config


def _with_whole_path(run: RunConfig) -> RunConfig:
    """An adapter records the folder that it started from, which is found from anywhere by its whole path alone."""
    if run.loop.init_from is None or not Path(run.loop.init_from).expanduser().exists():
        return run
    whole = str(Path(run.loop.init_from).expanduser().absolute())
    return dataclasses.replace(run, loop=dataclasses.replace(run.loop, init_from=whole))


def processor_of(name: str, modality: str) -> Any:
    """What brings the checkpoint's processor to the run's settings: an image processor, a feature extractor, or the place of
    a tokenizer."""
    if modality == "text":
        return name
    auto_class = AutoImageProcessor if modality == "image" else AutoFeatureExtractor
    try:
        return auto_class.from_pretrained(name)
    except (OSError, ValueError):
        return None  # it brings none: the run's own pixel statistics, sampling rate and normalisation are used then


def inside_run(name: str) -> str:
    """A run folder stands for its export, the full pretraining model first."""
    run_dir = RunDir(Path(name))
    run_dir.check_layout()
    export = run_dir.export
    candidates = [export / "pretraining" / "config.json", export / "config.json", export / CONFIG_FILE]
    return next((str(file.parent) for file in candidates if file.is_file()), name)
