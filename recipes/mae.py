"""Masked autoencoder pretraining.  accelerate launch recipes/mae.py --dataset path/to/images"""

from hfssl.config import parse
from hfssl.data.image_config import ImageDataConfig
from hfssl.methods.mae_config import MAEConfig


def main() -> None:
    run = parse(MAEConfig, ImageDataConfig)
    from hfssl.methods.mae import MAE  # heavy imports after the flags are known to be good
    from hfssl.pretrain import pretrain

    pretrain(MAE, run)


if __name__ == "__main__":
    main()
