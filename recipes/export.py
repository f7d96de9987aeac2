"""Export a checkpoint of a running, killed or finished run.  python recipes/export.py --run runs/mae-000 [--step N]"""

from hfssl.commands.command_line import run_command

if __name__ == "__main__":
    run_command("export")
