"""Rotation prediction.  accelerate launch recipes/rotation.py --dataset path/to/images"""

from hfssl.config.parse import parse
from hfssl.data.images.config import ImageDataConfig
from hfssl.methods.rotation.config import RotationConfig


def main() -> None:
    run = parse(RotationConfig, ImageDataConfig)
    from hfssl.commands.pretrain import pretrain
    from hfssl.methods.rotation.objective import Rotation  # heavy imports after the flags are known to be good

    pretrain(Rotation, run)


if __name__ == "__main__":
    main()
