"""The Python API, for notebooks and programs. Keywords are the flags of the command of the same name.

    import hfssl
    run = hfssl.pretrain("mae", dataset="path/to/images", max_steps=500)
    run.model(), run.processor(), run.summary, run.metrics, run.figures

Errors are exceptions: ConfigError (a setting cannot work), TrainingError (the run cannot continue), Interrupted (stopped by
a signal; the checkpoint is saved), all in `hfssl.errors`. `dataset` may also be held in memory: see `data.in_memory`.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from hfssl.catalog import DATA_CONFIGS, config_of, method, task, task_config_of
from hfssl.commands.task_choice import task_for
from hfssl.config.parse import settled_plain, settled_run
from hfssl.config.run_config import RunConfig
from hfssl.config.sections import MethodConfig
from hfssl.data.in_memory import InMemory, Sample, as_dataset_path, as_files
from hfssl.run_dir import Json, JsonView
from hfssl.runs.run import Run

if TYPE_CHECKING:
    import pandas

    from hfssl.hub.push import Published
    from hfssl.tasks.task import Task

Model = Run | str | Path

__all__ = ["Run", "embed", "evaluate", "finetune", "plan", "predict", "pretrain", "publish"]


def pretrain(
    method_name: str, /, dataset: InMemory | None = None, *, sampling_rate: int | None = None, **settings: Any
) -> Run:
    """Pretrain without labels, or resume the run of the same settings that was interrupted.

    Args:
        method_name: such as "mae", "simclr", "mlm" or "wav2vec2".
        dataset: a path, a Hub id, `demo:NAME`, a `datasets.Dataset`, or a list of PIL images, texts or waveforms; None takes
            the demo.
        sampling_rate: of waveforms in a list, in Hz.
        settings: flags of `hfssl METHOD`, and `config`, a preset or a YAML file.

    Raises:
        ConfigError, TrainingError, Interrupted: see `hfssl.errors`.
    """
    config = _run_config(config_of(method_name), dataset, sampling_rate, settings)
    from hfssl.commands.pretrain import pretrain as run_it

    return Run(run_it(method(method_name)[1], config).path)


def finetune(
    model: Model,
    /,
    dataset: InMemory,
    *,
    task_name: str | None = None,
    sampling_rate: int | None = None,
    **settings: Any,
) -> Run:
    """Train a model for a task on labelled data; `task_name` is found by the columns of the data where they leave no doubt.

    Args:
        model: a Run, a run folder, an export, or a Hub id.
        dataset, sampling_rate: as in `pretrain`, with labels.
        settings: flags of `hfssl finetune`.

    Raises:
        ConfigError, TrainingError, Interrupted: see `hfssl.errors`.
    """
    place = as_dataset_path(dataset, sampling_rate)
    name = task_name or task_for(place, settings.get("dataset_config"))
    config = _run_config(task_config_of(name), place, None, {"model": model} | settings)
    from hfssl.commands.finetune import finetune as run_it

    return Run(run_it(cast("type[Task]", task(name)[1]), config).path)


def plan(
    method_name: str, /, dataset: InMemory | None = None, *, sampling_rate: int | None = None, **settings: Any
) -> Json:
    """Time, memory, energy and cost of a run, from 30 real steps; arguments as in `pretrain`. Raises ConfigError."""
    config = _run_config(config_of(method_name), dataset, sampling_rate, settings)
    from hfssl.commands.plan import plan as run_it

    return run_it(config)


def evaluate(model: Model, /, dataset: InMemory, *, sampling_rate: int | None = None, **settings: Any) -> Json:
    """kNN, linear probe and label curve of any checkpoint on labelled data, with baselines.

    Args:
        model: a Run, a run folder, an export, or a Hub id.
        dataset, sampling_rate: as in `pretrain`, with labels.
        settings: flags of `hfssl evaluate`.

    Returns:
        What the JSON file in the run's eval/ holds.

    Raises:
        ConfigError: the checkpoint or the data do not allow it.
    """
    from hfssl.commands.evaluate import evaluate as run_it
    from hfssl.evaluation.evaluate_config import EvaluateConfig

    values = {"model": model, "dataset": as_dataset_path(dataset, sampling_rate)} | settings
    return run_it(settled_plain(EvaluateConfig, _plain(values)))


def embed(model: Model, /, dataset: InMemory, **settings: Any) -> "pandas.DataFrame":
    """Features of all images, a row per image that can be decoded, with neighbours and outlier scores where asked for.

    Args:
        model: a Run, a run folder, an export, or a Hub id.
        dataset: as in `pretrain`.
        settings: flags of `hfssl embed`; without `output` no file stays.

    Raises:
        ConfigError: the checkpoint or the data do not allow it.
    """
    import pandas

    from hfssl.commands.embed import embed as run_it
    from hfssl.commands.embed_config import EmbedConfig

    with tempfile.TemporaryDirectory(prefix="hfssl-") as scratch:
        values = {
            "model": model,
            "dataset": as_dataset_path(dataset),
            "output": f"{scratch}/features.parquet",
        } | settings
        return pandas.read_parquet(run_it(settled_plain(EmbedConfig, _plain(values))))


def predict(
    model: Model, /, inputs: str | Path | Sequence[Sample], *, sampling_rate: int | None = None, **settings: Any
) -> "pandas.DataFrame":
    """What a fine-tuned model says, a row per input; an input that cannot be read has an error instead.

    Args:
        model: a Run, a run folder, an export, or a Hub id.
        inputs: a file, a folder or a table, or a list of PIL images, texts or waveforms.
        sampling_rate: of waveforms in a list, in Hz.
        settings: flags of `hfssl predict`; without `output` no file stays.

    Raises:
        ConfigError: the checkpoint has no trained head, or there is nothing to predict.
    """
    import pandas

    from hfssl.commands.predict import predict as run_it
    from hfssl.predicting.predict_config import PredictConfig

    with tempfile.TemporaryDirectory(prefix="hfssl-") as scratch:
        place = inputs if isinstance(inputs, (str, Path)) else as_files(inputs, Path(scratch) / "inputs", sampling_rate)
        values = {"model": model, "input": place, "output": f"{scratch}/predictions.jsonl"} | settings
        file = run_it(settled_plain(PredictConfig, _plain(values)))
        return pandas.read_json(file, lines=True) if file.suffix == ".jsonl" else pandas.read_csv(file)


def publish(run: Model, /, hub_model_id: str, **settings: Any) -> "Published | None":
    """Publish a run on the Hub, in one commit; None after a dry run.

    Args:
        run: a Run or a run folder.
        hub_model_id: NAME or USER/NAME.
        settings: flags of `hfssl publish`.

    Raises:
        ConfigError: no such run, or it is not fit to be published.
        HubError: it did not get to the Hub.
    """
    from hfssl.commands.publish import publish as run_it
    from hfssl.hub.publish_config import PublishConfig

    return run_it(settled_plain(PublishConfig, _plain({"run": run, "hub_model_id": hub_model_id} | settings)))


def _run_config(
    config: type[MethodConfig], dataset: InMemory, sampling_rate: int | None, settings: JsonView
) -> RunConfig:
    given = {} if dataset is None else {"dataset": as_dataset_path(dataset, sampling_rate)}
    return settled_run(config, DATA_CONFIGS[config.modality], _plain(settings) | given)


def _plain(settings: JsonView) -> Json:
    """Settings as YAML could hold them: runs and paths as texts, numbers of NumPy as Python's."""
    return {name: _plain_value(value) for name, value in settings.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, Run):
        return str(value.path)
    if isinstance(value, np.generic):
        return value.item()
    return os.fspath(value) if isinstance(value, os.PathLike) else value
