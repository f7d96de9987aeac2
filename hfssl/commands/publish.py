"""Publish a run: its export, or one of a run that is not finished, as a repository of the Hub."""

import tempfile
from pathlib import Path

from hfssl.commands.export import choose_step, export_checkpoint
from hfssl.commands.export_config import ExportConfig
from hfssl.console import quieten_libraries, reported
from hfssl.errors import require
from hfssl.hub.publication import publish_export
from hfssl.hub.publish_config import PublishConfig
from hfssl.hub.push import Published
from hfssl.run_dir import RunDir
from hfssl.training.checkpoint import newest_whole


def publish(config: PublishConfig, from_command_line: bool = True) -> Published | None:
    """Push a run in one commit; the run folder stays as it is. Returns None after a dry run.

    Raises:
        ConfigError: no such run, or it is not fit to be published.
        HubError: it did not get to the Hub.
    """
    with reported(from_command_line):
        quieten_libraries()
        run_dir = RunDir(Path(str(config.run)).expanduser())
        require(run_dir.is_run(), f"--run {run_dir.path} is not a run folder: it has no config.yaml of a run")
        require(
            run_dir.is_finished() or config.allow_unfinished,
            f"{run_dir.path} is not finished: let it finish, or publish it as it is with --allow_unfinished",
        )
        with tempfile.TemporaryDirectory(prefix="hfssl-") as scratch:
            export, step = _export(run_dir, config, Path(scratch) / "export")
            return publish_export(run_dir, export, config, step)


def _export(run_dir: RunDir, config: PublishConfig, scratch: Path) -> tuple[Path, int | None]:
    """The run's own export, or one that is made now and does not stay, with its step where that is not the last."""
    if run_dir.is_finished() and not config.merge:
        return run_dir.export, None
    if config.card_only:
        return run_dir.export, newest_whole(run_dir)[0]
    step, _ = choose_step(run_dir, None)
    asked = ExportConfig(run=str(run_dir.path), step=step, merge=config.merge, output_dir=str(scratch))
    return export_checkpoint(asked, from_command_line=False), None if run_dir.is_finished() else step
