"""Rotation prediction.  accelerate launch recipes/rotation.py --dataset path/to/images"""

from hfssl.config import parse
from hfssl.data.image_config import ImageDataConfig
from hfssl.methods.rotation_config import RotationConfig


def main() -> None:
    run = parse(RotationConfig, ImageDataConfig)
    from hfssl.methods.rotation import Rotation  # heavy imports after the flags are known to be good
    from hfssl.pretrain import pretrain

    pretrain(Rotation, run)


if __name__ == "__main__":
    main()
