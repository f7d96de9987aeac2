"""Masked autoencoder pretraining.  accelerate launch recipes/mae.py --dataset path/to/images"""

from hfssl.commands.command_line import run_command

if __name__ == "__main__":
    run_command("mae")
