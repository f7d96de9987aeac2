"""Publish a run on the Hub, in one commit.  python recipes/publish.py --run runs/mae-000 --hub_model_id NAME"""

from hfssl.commands.command_line import run_command

if __name__ == "__main__":
    run_command("publish")
