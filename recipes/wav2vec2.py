"""wav2vec 2.0 pretraining.  accelerate launch recipes/wav2vec2.py --dataset path/to/recordings"""

from hfssl.commands.command_line import run_command

if __name__ == "__main__":
    run_command("wav2vec2")
