"""Fine-tuning.  accelerate launch recipes/finetune.py --model RUN --dataset path/to/labelled/data"""

from hfssl.commands.command_line import run_command

if __name__ == "__main__":
    run_command("finetune")
