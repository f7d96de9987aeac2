"""SimCLR pretraining.  accelerate launch recipes/simclr.py --dataset path/to/images"""

from hfssl.config.parse import parse
from hfssl.data.images.config import ImageDataConfig
from hfssl.methods.simclr.config import SimCLRConfig


def main() -> None:
    run = parse(SimCLRConfig, ImageDataConfig)
    from hfssl.commands.pretrain import pretrain
    from hfssl.methods.simclr.objective import SimCLR  # heavy imports after the flags are known to be good

    pretrain(SimCLR, run)


if __name__ == "__main__":
    main()
