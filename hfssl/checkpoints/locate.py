"""Where the model lies that a user named: a run folder stands for its export, other folders and Hub ids for themselves.

Every command that takes a model or a run finds it here, so that each says the same about one that is not there. No torch is
imported before a config is read.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
from safetensors import SafetensorError

from hfssl.checkpoints.adapter_files import CONFIG_FILE, WEIGHTS_FILE, AdapterFacts, adapter_at
from hfssl.checkpoints.model_files import settings_in, shapes_in
from hfssl.config.invocation import command
from hfssl.errors import ConfigError, one_line, require
from hfssl.run_dir import RunDir

if TYPE_CHECKING:
    from transformers import PretrainedConfig

UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError)  # what from_pretrained raises
_SETTINGS = ("config.json", CONFIG_FILE)
_ALLOWED = "name a run folder, an export or a Hub id"
_REMEDY = "check the name and the connection"


class Checkpoint(NamedTuple):
    """location: what from_pretrained takes; name: what tables call it, a Hub id or the last part of a path;
    said: the flag and its value, with which errors start."""

    location: str
    name: str
    said: str


def find_checkpoint(model: str, flag: str = "--model", *, prefers_pretraining: bool = False) -> Checkpoint:
    """The checkpoint that `flag` names. Whether a Hub id exists, `config_of` finds out.

    Args:
        prefers_pretraining: of an export that holds the full pretraining model too, take that.

    Raises:
        ConfigError: there is no such folder, it holds no model, or its files are damaged.
    """
    path, said = Path(model).expanduser(), f"{flag} {model}"
    if not path.exists():
        require(public_name(model) == model, f"{said} does not exist: {_ALLOWED}")
        return Checkpoint(model, model, said)
    require(path.is_dir(), f"{said} is a file: {_ALLOWED}")
    run_dir = RunDir(path)
    if run_dir.is_run():
        name, folder = path.resolve().name, export_of(run_dir, said).absolute()
    else:
        name, folder = _name_of(path.resolve()), path.absolute()
        require(_holds_model(folder), f"{said} holds no model, neither {' nor '.join(_SETTINGS)}: {_ALLOWED}")
    if prefers_pretraining and run_dir.is_run() and _holds_model(folder / "pretraining"):
        folder = folder / "pretraining"
    _check_files(folder)
    return Checkpoint(str(folder), name, said)


def find_run(run: str, flag: str = "--run") -> RunDir:
    """The run folder that `flag` names.

    Raises:
        ConfigError: there is none.
    """
    run_dir = RunDir(Path(run).expanduser())
    require(run_dir.path.exists(), f"{flag} {run} does not exist: name a run folder")
    require(run_dir.is_run(), f"{flag} {run} is not a run folder: it has no config.yaml")
    return run_dir


def export_of(run_dir: RunDir, said: str) -> Path:
    """The folder of a run's export; `said` is what errors call the run.

    Raises:
        ConfigError: there is none; the error names the command that makes one, where there is a checkpoint.
    """
    if not _holds_model(run_dir.export):
        require(bool(run_dir.checkpoint_steps()), without_checkpoint(said))
        state = "is finished but has no export" if run_dir.is_finished() else "is not finished and has no export yet"
        raise ConfigError(f"{said} {state}: {_export_command(run_dir)} makes one of its newest checkpoint")
    return run_dir.export


def without_checkpoint(said: str) -> str:
    """The error about a run of which nothing can be exported."""
    return f"{said} has no checkpoint to make an export of: let it train up to its first one, or name another run"


def adapter_of(checkpoint: Checkpoint) -> AdapterFacts | None:
    """The adapter that the checkpoint is; None where it is a whole model.

    Raises:
        ConfigError: its base is gone.
    """
    with loading(checkpoint.said):
        adapter = adapter_at(checkpoint.location)
    if adapter is not None:
        _check_base(checkpoint, adapter)
    return adapter


def config_of(checkpoint: Checkpoint) -> "PretrainedConfig":
    """Its transformers config; that of the base where it is an adapter.

    Raises:
        ConfigError: it cannot be read: the base is gone, a Hub id cannot be reached, or transformers does not know the model.
    """
    from transformers import AutoConfig  # torch

    adapter = adapter_of(checkpoint)
    if adapter is None or adapter.base == checkpoint.location:
        with loading(checkpoint.said):
            return AutoConfig.from_pretrained(checkpoint.location)
    with loading(f"{checkpoint.said} is an adapter of {adapter.base}, which"):
        return AutoConfig.from_pretrained(adapter.base)


def input_of(checkpoint: Checkpoint) -> str:
    """What the model reads: `pixel_values`, `input_ids`, `input_values`, as transformers names it. Raises as `config_of`."""
    from transformers import MODEL_MAPPING  # torch

    known: Any = MODEL_MAPPING.get(type(config_of(checkpoint)), None)
    return "pixel_values" if known is None else str(known.main_input_name)


@contextmanager
def loading(said: str) -> Iterator[None]:
    """Inside, what `from_pretrained` raises becomes one ConfigError that starts with `said`."""
    try:
        yield
    except ConfigError:
        raise
    except UNREADABLE as error:
        if _is_unreachable(error):
            raise ConfigError(f"{said} is no folder here, and the Hub cannot be reached: {_REMEDY}") from error
        raise ConfigError(f"{said} cannot be loaded: {one_line(error)}") from error


def public_name(name: str) -> str:
    """A Hub id as it is; only the last part of a local folder or file."""
    path = Path(name).expanduser()
    is_local = path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1
    return path.resolve().name if is_local else name


def _export_command(run_dir: RunDir, *options: str) -> str:
    return command("export", "--run", str(run_dir.path), *options)


def _name_of(folder: Path) -> str:
    """An export is called by its run."""
    return folder.parent.name if RunDir(folder.parent).export == folder else folder.name


def _holds_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _SETTINGS)


def _check_files(folder: Path) -> None:
    """Raise ConfigError where the settings or the weights in a folder are damaged."""
    for name in _SETTINGS:
        if (folder / name).is_file():
            settings_in(folder / name)
    for file in (*folder.glob("model*.safetensors"), folder / WEIGHTS_FILE):
        if file.is_file():
            shapes_in(file)


def _check_base(checkpoint: Checkpoint, adapter: AdapterFacts) -> None:
    """Raise ConfigError where the folder of the model that an adapter belongs to is gone."""
    is_folder = public_name(adapter.base) != adapter.base
    run_dir = RunDir(Path(checkpoint.location).parent)
    merged = f", or let {_export_command(run_dir, '--merge')} make the whole model"
    remedy = f"put that back{merged if run_dir.is_run() else ''}"
    require(
        not is_folder or Path(adapter.base).exists(),
        f"{checkpoint.said} is an adapter of {adapter.base}, which is gone: {remedy}",
    )


def _is_unreachable(error: BaseException | None) -> bool:
    """Whether the Hub was asked for a file that is not in the cache, without a connection."""
    while error is not None:
        if isinstance(error, (LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError)):
            return True
        error = error.__cause__ or error.__context__
    return False
