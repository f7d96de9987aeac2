"""Evaluate any image checkpoint.  python recipes/evaluate_checkpoint.py --model runs/mae-000 --dataset path/to/labelled/images"""

from hfssl.commands.command_line import run_command

if __name__ == "__main__":
    run_command("evaluate")
