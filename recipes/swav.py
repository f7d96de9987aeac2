"""SwAV pretraining.  accelerate launch recipes/swav.py --dataset path/to/images"""

from hfssl.config.parse import parse
from hfssl.data.images.config import ImageDataConfig
from hfssl.methods.swav.config import SwAVConfig


def main() -> None:
    run = parse(SwAVConfig, ImageDataConfig)
    from hfssl.commands.pretrain import pretrain
    from hfssl.methods.swav.objective import SwAV  # heavy imports after the flags are known to be good

    pretrain(SwAV, run)


if __name__ == "__main__":
    main()
