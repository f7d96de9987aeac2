"""What metrics.jsonl gets, for a tracker as well, through Accelerate. The file is written whether there is one or not."""

from accelerate import Accelerator

from hfssl.config.run_config import RunConfig
from hfssl.distributed import all_gather_objects
from hfssl.errors import require
from hfssl.run_dir import Json, JsonView, RunDir

PROJECT = "hfssl"
_PLACES = ("output_dir",)  # of this machine only


def open_tracker(accelerator: Accelerator, run: RunConfig, run_dir: RunDir, step: int) -> None:
    """Begin, or continue at `step`, with the tracker of --report_to. Called by all ranks; nothing without a tracker."""
    if run.loop.report_to == "none":
        return
    accelerator.project_configuration.logging_dir = str(run_dir.tensorboard)
    options = {
        "tensorboard": {"purge_step": step + 1 if step else 0},  # what was logged beyond the checkpoint is logged again
        "trackio": {"name": run_dir.path.name, "resume": "allow"},
        "wandb": {"name": run_dir.path.name, "resume": "allow"},
    }
    problem = None
    try:
        accelerator.init_trackers(PROJECT, config=settings(run), init_kwargs=options)
    except Exception as error:  # a tracker may raise anything: no account, no network, a package of its own missing
        accelerator.trackers.clear()
        problem = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    problems = [text for text in all_gather_objects(problem) if text is not None]
    require(not problems, f"--report_to {run.loop.report_to} cannot be started: {problems[0] if problems else ''}")


def settings(run: RunConfig) -> Json:
    """The run's settings as trackers take them: flat, plain values."""
    flat: Json = {"recipe": run.recipe, "preset": run.preset}
    for section, values in run.stored().items():
        if isinstance(values, dict) and section != "model_config":
            flat |= {f"{section}.{name}": value for name, value in values.items() if name not in _PLACES}
    return {name: value if isinstance(value, (bool, int, float, str)) else str(value) for name, value in flat.items()}


def track(accelerator: Accelerator, row: JsonView) -> None:
    """One row of metrics.jsonl for the tracker, numbers only."""
    figures = {name: value for name, value in row.items() if isinstance(value, (int, float)) and name != "step"}
    accelerator.log(figures, step=int(row["step"]))
