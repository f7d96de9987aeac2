"""Report and card of a run, made anew from its folder: of one that goes on, was killed, or is finished."""

from pathlib import Path

from hfssl.commands.report_config import ReportConfig
from hfssl.errors import require
from hfssl.reporting.card import write_card
from hfssl.reporting.report import write_report
from hfssl.run_dir import RunDir


def report(config: ReportConfig) -> list[Path]:
    """Write report.html and README.md into the run folder; returns their paths.

    Raises:
        ConfigError: there is no such run.
    """
    run_dir = RunDir(Path(str(config.run)))
    require(run_dir.config_file.is_file(), f"--run {run_dir.path} is not a run folder: it has no config.yaml")
    written = [write_report(run_dir), write_card(run_dir)]
    print(f"report  {written[0]}\ncard    {written[1]}")
    return written
