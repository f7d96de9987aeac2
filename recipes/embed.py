"""Embeddings of all images, for search and anomaly detection.  python recipes/embed.py --model runs/mae-000 --dataset path"""

from hfssl.commands.command_line import run_command

if __name__ == "__main__":
    run_command("embed")
