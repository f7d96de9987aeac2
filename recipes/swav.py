"""SwAV pretraining.  accelerate launch recipes/swav.py --dataset path/to/images"""

from hfssl.config import parse
from hfssl.data.image_config import ImageDataConfig
from hfssl.methods.swav_config import SwAVConfig


def main() -> None:
    run = parse(SwAVConfig, ImageDataConfig)
    from hfssl.methods.swav import SwAV  # heavy imports after the flags are known to be good
    from hfssl.pretrain import pretrain

    pretrain(SwAV, run)


if __name__ == "__main__":
    main()
