"""The closing steps of a run: each fails singly, is said in a line and recorded, and the rest is made.

What is missing is made by the next start of the same command.
"""

import contextlib
import traceback
from collections.abc import Callable
from typing import TypeVar

from safetensors import SafetensorError

from hfssl.checkpoints.exports import write_export
from hfssl.config.invocation import is_command
from hfssl.console import say
from hfssl.distributed import is_main_process
from hfssl.errors import ConfigError, Interrupted, TrainingError, one_line
from hfssl.objective import Export
from hfssl.run_dir import Json, RunDir
from hfssl.training.closing_record import PAGES, ClosingRecord, missing_parts, read_record, write_record

Made = TypeVar("Made")


class Closing:
    """The closing steps of one run. For the main process only."""

    def __init__(self, run_dir: RunDir, failed: dict[str, str] | None = None) -> None:
        """failed: what could not be made before, part -> type of the error."""
        self.run_dir = run_dir
        self._failed = dict(failed or {})
        self._record(is_over=False)

    def attempt(self, part: str, make: Callable[[], Made]) -> Made | None:
        """What `make` returns; None where it fails, which is said and recorded under the name `part`."""
        try:
            made = make()
        except Interrupted:
            raise
        except Exception as error:  # whatever it is, it must not cost the run its other parts
            self._note(part, error)
            return None
        self._failed.pop(part, None)
        return made

    def finish(self, summary: Json) -> None:
        """Mark the run as finished, with its results.

        Raises:
            TrainingError: the results could not be written.
        """
        try:
            self.run_dir.write_summary(summary)
        except OSError as error:
            raise TrainingError(
                f"the results could not be written ({one_line(error)}); the trained weights are saved: mend that, then "
                f"{_start_again()}"
            ) from error

    def write_pages(self) -> None:
        """Report and card; the report once more where the card fails, so that it says so."""
        from hfssl.reporting.card import write_card
        from hfssl.reporting.report import write_report

        for page in PAGES:
            self._failed.pop(page, None)
        self._record(is_over=False)
        self.attempt("report", lambda: write_report(self.run_dir))
        if self.attempt("card", lambda: write_card(self.run_dir)) is None and "report" not in self._failed:
            self.attempt("report", lambda: write_report(self.run_dir))
        self._record(is_over=True)

    def _note(self, part: str, error: Exception) -> None:
        self._failed[part] = type(error).__name__
        say(f"warning: the {part} could not be made: {line_of(error)}; {_start_again()} to make it")
        log_traceback(self.run_dir, part, error)
        self._record(is_over=False)

    def _record(self, *, is_over: bool) -> None:
        with contextlib.suppress(OSError):  # a full disk: what is missing is seen by its file
            write_record(self.run_dir, ClosingRecord(self._failed, is_over))


def line_of(error: Exception) -> str:
    """An error in a line: its message where a user can mend it, else its type too."""
    said = one_line(error)
    if isinstance(error, ConfigError):
        return said
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def log_traceback(run_dir: RunDir, part: str, error: Exception) -> None:
    """Append the traceback of an error to closing.log, where that can be written."""
    lines = traceback.format_exception(error)
    with contextlib.suppress(OSError), run_dir.closing_log.open("a", encoding="utf-8") as file:
        file.write(f"the {part} could not be made\n{''.join(lines)}\n")


def export_run(export: Export, run_dir: RunDir) -> None:
    """Write the export of a run.

    Raises:
        TrainingError: it could not be written; the checkpoint of the last step stays.
    """
    try:
        write_export(export, run_dir.export)
    except (
        OSError,
        RuntimeError,
        SafetensorError,
    ) as error:  # torch and safetensors report a full disk in their own ways
        log_traceback(run_dir, "export", error)
        raise TrainingError(
            f"the export could not be written to {run_dir.export} ({one_line(error)}); the trained weights are saved: mend "
            f"that, then {_start_again()}"
        ) from error


def close_again(run_dir: RunDir) -> None:
    """Make report and card of a finished run where one of them is missing; say what else is."""
    missing = missing_parts(run_dir)
    if not missing or not is_main_process():
        return
    others = [part for part in missing if part not in PAGES]
    if others:
        say(f"warning: {', '.join(others)}: missing, and not made again, since the checkpoint of the last step is gone")
    if len(others) < len(missing):
        Closing(run_dir, read_record(run_dir).failed).write_pages()


def written_lines(run_dir: RunDir) -> list[str]:
    """Where figures, report and card are, for the terminal; what is missing is named as such."""
    files = {"figures": run_dir.figures, "report": run_dir.report_file, "card": run_dir.card_file}
    return [
        f"{name:<10}  {path if path.exists() else 'missing: see the warning above'}" for name, path in files.items()
    ]


def _start_again() -> str:
    return "start the same command again" if is_command() else "make the same call again"
