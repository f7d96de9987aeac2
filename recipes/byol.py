"""BYOL pretraining.  accelerate launch recipes/byol.py --dataset path/to/images"""

from hfssl.config.parse import parse
from hfssl.data.images.config import ImageDataConfig
from hfssl.methods.byol.config import BYOLConfig


def main() -> None:
    run = parse(BYOLConfig, ImageDataConfig)
    from hfssl.commands.pretrain import pretrain
    from hfssl.methods.byol.objective import BYOL  # heavy imports after the flags are known to be good

    pretrain(BYOL, run)


if __name__ == "__main__":
    main()
