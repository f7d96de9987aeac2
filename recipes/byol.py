"""BYOL pretraining.  accelerate launch recipes/byol.py --dataset path/to/images"""

from hfssl.config import parse
from hfssl.data.image_config import ImageDataConfig
from hfssl.methods.byol_config import BYOLConfig


def main() -> None:
    run = parse(BYOLConfig, ImageDataConfig)
    from hfssl.methods.byol import BYOL  # heavy imports after the flags are known to be good
    from hfssl.pretrain import pretrain

    pretrain(BYOL, run)


if __name__ == "__main__":
    main()
