"""Report and card of a running, killed or finished run.  python recipes/report.py --run runs/mae-000"""

from hfssl.commands.report_config import ReportConfig
from hfssl.config.parse import parse_plain


def main() -> None:
    config = parse_plain(ReportConfig, str(__doc__))
    from hfssl.commands.report import report  # heavy imports after the flags are known to be good

    report(config)


if __name__ == "__main__":
    main()
