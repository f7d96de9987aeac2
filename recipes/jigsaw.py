"""Jigsaw puzzles.  accelerate launch recipes/jigsaw.py --dataset path/to/images"""

from hfssl.config.parse import parse
from hfssl.data.images.config import ImageDataConfig
from hfssl.methods.jigsaw.config import JigsawConfig


def main() -> None:
    run = parse(JigsawConfig, ImageDataConfig)
    from hfssl.commands.pretrain import pretrain
    from hfssl.methods.jigsaw.objective import Jigsaw  # heavy imports after the flags are known to be good

    pretrain(Jigsaw, run)


if __name__ == "__main__":
    main()
