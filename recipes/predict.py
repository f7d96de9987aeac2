"""Answers of a fine-tuned model as CSV or JSONL.  python recipes/predict.py --model CHECKPOINT --input FILE_OR_FOLDER"""

from hfssl.commands.command_line import run_command

if __name__ == "__main__":
    run_command("predict")
