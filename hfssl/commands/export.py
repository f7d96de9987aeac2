"""Exports a checkpoint of a running, killed or finished run, as the run itself exports these weights."""

from pathlib import Path

from safetensors.torch import load_model
from transformers import AutoConfig

from hfssl.catalog import DATA_CONFIGS, objective_of
from hfssl.checkpoints.exports import write_export
from hfssl.checkpoints.locate import find_run, without_checkpoint
from hfssl.commands.export_config import ExportConfig
from hfssl.config.files import load_layer
from hfssl.config.run_config import RunConfig
from hfssl.config.sections import LoopConfig, MethodConfig, OptimConfig
from hfssl.console import quieten_libraries
from hfssl.errors import require
from hfssl.run_dir import RunDir
from hfssl.runs.context import Blueprint
from hfssl.runs.open_session import build_objective
from hfssl.training.checkpoint import newest_whole, read_state, weights_file, what_is_wrong


def export_checkpoint(config: ExportConfig) -> Path:
    """Write the export of a checkpoint and return its folder; the training data is not needed.

    Raises:
        ConfigError: no such run, or no whole checkpoint of that step.
    """
    assert config.run is not None
    quieten_libraries()
    run_dir = find_run(config.run)
    step, what_it_is = choose_step(run_dir, config.step)
    default = _default_folder(run_dir, config, step)
    folder = default if config.output_dir is None else Path(config.output_dir)
    require(
        folder == default or not folder.exists() or not any(folder.iterdir()),
        f"--output_dir {folder} is not empty: name a new folder",
    )
    _write(run_dir, step, folder, merge=config.merge)
    print(f"step {step}{what_it_is} of {run_dir.path} exported to {folder}")
    return folder


def _default_folder(run_dir: RunDir, config: ExportConfig, step: int) -> Path:
    of_step = "" if config.step is None else f"-step_{step:08d}"
    return run_dir.path / f"{run_dir.export.name}{of_step}{'-merged' if config.merge else ''}"


def choose_step(run_dir: RunDir, step: int | None) -> tuple[int, str]:
    """(the step, what it is in words): the best one on validation rows where the run chose one, else the newest."""
    require(bool(run_dir.checkpoint_steps()), without_checkpoint(f"--run {run_dir.path}"))
    steps = ", ".join(map(str, run_dir.checkpoint_steps()))
    if step is not None:
        problem = what_is_wrong(run_dir.checkpoint(step))
        require(problem is None, f"there is no whole checkpoint of step {step}; there are: {steps}")
        return step, ""
    newest, _ = newest_whole(run_dir)
    require(newest is not None, f"--run {run_dir.path} has no whole checkpoint: those of the steps {steps} are damaged")
    assert newest is not None
    best = read_state(run_dir, newest).best_step
    if best is None:
        return newest, ""
    if (problem := what_is_wrong(run_dir.checkpoint(best))) is not None:
        print(f"step {best}, the best on the validation rows, has no whole checkpoint ({problem})")
        return newest, ", the newest,"
    return best, ", the best on the validation rows,"


def _write(run_dir: RunDir, step: int, folder: Path, *, merge: bool) -> None:
    stored = run_dir.read_config()
    config_class, objective_class = objective_of(stored["recipe"])
    data_class = DATA_CONFIGS[objective_class.modality]
    layer = load_layer(run_dir.config_file, config_class, data_class)
    method = config_class(**layer["method"])
    run = RunConfig(
        recipe=stored["recipe"],
        preset=stored["preset"],
        method=_merged(run_dir, method) if merge else method,
        data=data_class(**layer["data"]),
        optim=OptimConfig(**layer["optim"]),
        loop=LoopConfig(**layer["loop"]),
    )
    model_config = AutoConfig.for_model(**stored["model_config"]) if stored["model_config"] else None
    data = run.data.with_processor(str(run_dir.processor)) if run.data.keeps_processor else run.data
    pipeline = objective_class.data_pipeline(run.method, data, None)
    blueprint = Blueprint(objective_class, run, model_config)
    objective = build_objective(blueprint, pipeline, load=False, verbose=False)
    load_model(objective, weights_file(run_dir, step), strict=True)
    write_export(objective.eval().export(), folder)


def _merged(run_dir: RunDir, method: MethodConfig) -> MethodConfig:
    """The settings that make a run's export a whole model, where that changes anything."""
    merged = method.merged()
    require(merged is not None, f"--merge has no effect: {run_dir.path} trained no adapter; leave it out")
    require(merged != method, f"--merge has no effect: {run_dir.path} exports the whole model anyway; leave it out")
    assert merged is not None
    return merged
