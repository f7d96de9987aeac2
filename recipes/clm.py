"""Causal language model pretraining.  accelerate launch recipes/clm.py --dataset path/to/texts"""

from hfssl.commands.command_line import run_command

if __name__ == "__main__":
    run_command("clm")
