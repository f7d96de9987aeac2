"""Report and card of a running, killed or finished run.  python recipes/report.py --run runs/mae-000"""

from hfssl.commands.command_line import run_command

if __name__ == "__main__":
    run_command("report")
