"""What a model will see of your images, before it trains.  python recipes/preview.py --dataset path --augmentation natural"""

from hfssl.commands.command_line import run_command

if __name__ == "__main__":
    run_command("preview")
