"""SimCLR pretraining.  accelerate launch recipes/simclr.py --dataset path/to/images"""

from hfssl.config import parse
from hfssl.data.image_config import ImageDataConfig
from hfssl.methods.simclr_config import SimCLRConfig


def main() -> None:
    run = parse(SimCLRConfig, ImageDataConfig)
    from hfssl.methods.simclr import SimCLR  # heavy imports after the flags are known to be good
    from hfssl.pretrain import pretrain

    pretrain(SimCLR, run)


if __name__ == "__main__":
    main()
