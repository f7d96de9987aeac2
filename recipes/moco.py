"""MoCo pretraining.  accelerate launch recipes/moco.py --dataset path/to/images"""

from hfssl.config.parse import parse
from hfssl.data.images.config import ImageDataConfig
from hfssl.methods.moco.config import MoCoConfig


def main() -> None:
    run = parse(MoCoConfig, ImageDataConfig)
    from hfssl.commands.pretrain import pretrain
    from hfssl.methods.moco.objective import MoCo  # heavy imports after the flags are known to be good

    pretrain(MoCo, run)


if __name__ == "__main__":
    main()
