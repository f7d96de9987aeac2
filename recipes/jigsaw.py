"""Jigsaw puzzles.  accelerate launch recipes/jigsaw.py --dataset path/to/images"""

from hfssl.config import parse
from hfssl.data.image_config import ImageDataConfig
from hfssl.methods.jigsaw_config import JigsawConfig


def main() -> None:
    run = parse(JigsawConfig, ImageDataConfig)
    from hfssl.methods.jigsaw import Jigsaw  # heavy imports after the flags are known to be good
    from hfssl.pretrain import pretrain

    pretrain(Jigsaw, run)


if __name__ == "__main__":
    main()
