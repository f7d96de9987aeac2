"""Export a checkpoint of a running, killed or finished run.  python recipes/export.py --run runs/mae-000 [--step N]"""

from hfssl.commands.export_config import ExportConfig
from hfssl.config.parse import parse_plain


def main() -> None:
    config = parse_plain(ExportConfig, str(__doc__))
    from hfssl.commands.export import export_checkpoint  # heavy imports after the flags are known to be good

    export_checkpoint(config)


if __name__ == "__main__":
    main()
