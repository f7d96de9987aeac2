"""Export a checkpoint of a running, killed or finished run.  python recipes/export.py --run runs/mae-000 [--step N]"""

from hfssl.command import parse_export


def main() -> None:
    wanted = parse_export()
    from hfssl.export import export_checkpoint

    export_checkpoint(wanted)


if __name__ == "__main__":
    main()
