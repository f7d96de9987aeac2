"""DINO pretraining.  accelerate launch recipes/dino.py --dataset path/to/images"""

from hfssl.config.parse import parse
from hfssl.data.images.config import ImageDataConfig
from hfssl.methods.dino.config import DINOConfig


def main() -> None:
    run = parse(DINOConfig, ImageDataConfig)
    from hfssl.commands.pretrain import pretrain
    from hfssl.methods.dino.objective import DINO  # heavy imports after the flags are known to be good

    pretrain(DINO, run)


if __name__ == "__main__":
    main()
