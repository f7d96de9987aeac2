"""MoCo pretraining.  accelerate launch recipes/moco.py --dataset path/to/images"""

from hfssl.config import parse
from hfssl.data.image_config import ImageDataConfig
from hfssl.methods.moco_config import MoCoConfig


def main() -> None:
    run = parse(MoCoConfig, ImageDataConfig)
    from hfssl.methods.moco import MoCo  # heavy imports after the flags are known to be good
    from hfssl.pretrain import pretrain

    pretrain(MoCo, run)


if __name__ == "__main__":
    main()
