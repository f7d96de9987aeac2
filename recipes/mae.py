"""Masked autoencoder pretraining.  accelerate launch recipes/mae.py --dataset path/to/images"""

from hfssl.config.parse import parse
from hfssl.data.images.config import ImageDataConfig
from hfssl.methods.mae.config import MAEConfig


def main() -> None:
    run = parse(MAEConfig, ImageDataConfig)
    from hfssl.commands.pretrain import pretrain
    from hfssl.methods.mae.objective import MAE  # heavy imports after the flags are known to be good

    pretrain(MAE, run)


if __name__ == "__main__":
    main()
