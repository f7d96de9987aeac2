"""Masked language model pretraining.  accelerate launch recipes/mlm.py --dataset path/to/texts"""

from hfssl.commands.command_line import run_command

if __name__ == "__main__":
    run_command("mlm")
