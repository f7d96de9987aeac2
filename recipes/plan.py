"""What a run would take, before it is started.  accelerate launch recipes/plan.py mae --dataset path/to/images"""

from hfssl.commands.command_line import run_command

if __name__ == "__main__":
    run_command("plan")
