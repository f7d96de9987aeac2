"""Report and card of a run, made anew from its folder: of one that goes on, was killed, or is finished."""

from pathlib import Path

from hfssl.commands.report_config import ReportConfig
from hfssl.console import reported
from hfssl.errors import require
from hfssl.reporting.card import write_card
from hfssl.reporting.report import write_report
from hfssl.run_dir import RunDir


def report(config: ReportConfig, from_command_line: bool = True) -> list[Path]:
    """Write report.html and README.md into the run folder; returns their paths.

    Raises:
        ConfigError: there is no such run.
    """
    with reported(from_command_line):
        run_dir = RunDir(Path(str(config.run)))
        require(run_dir.is_run(), f"--run {run_dir.path} is not a run folder: it has no config.yaml of a run")
        written = [write_report(run_dir), write_card(run_dir)]
        print(f"report  {written[0]}\ncard    {written[1]}")
        return written
