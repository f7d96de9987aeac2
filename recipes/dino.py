"""DINO pretraining.  accelerate launch recipes/dino.py --dataset path/to/images"""

from hfssl.config import parse
from hfssl.data.image_config import ImageDataConfig
from hfssl.methods.dino_config import DINOConfig


def main() -> None:
    run = parse(DINOConfig, ImageDataConfig)
    from hfssl.methods.dino import DINO  # heavy imports after the flags are known to be good
    from hfssl.pretrain import pretrain

    pretrain(DINO, run)


if __name__ == "__main__":
    main()
