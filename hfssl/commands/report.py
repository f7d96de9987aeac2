"""Report and card of a run, made again from its folder, whether the run is going, was killed, or is finished."""

from pathlib import Path

from hfssl.checkpoints.locate import find_run
from hfssl.commands.report_config import ReportConfig
from hfssl.reporting.card import write_card
from hfssl.reporting.report import write_report


def report(config: ReportConfig) -> list[Path]:
    """Write report.html and README.md into the run folder; returns their paths.

    Raises:
        ConfigError: there is no such run.
    """
    run_dir = find_run(str(config.run))
    written = [write_report(run_dir), write_card(run_dir)]
    print(f"report  {written[0]}\ncard    {written[1]}")
    return written
