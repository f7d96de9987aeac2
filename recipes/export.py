"""Export a checkpoint of a running, killed or finished run.  python recipes/export.py --run runs/mae-000 [--step N]"""

from hfssl.config import parse_plain
from hfssl.export_config import ExportConfig


def main() -> None:
    wanted = parse_plain(ExportConfig, str(__doc__))
    from hfssl.export import export_checkpoint  # heavy imports after the flags are known to be good

    export_checkpoint(wanted)


if __name__ == "__main__":
    main()
