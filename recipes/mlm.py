"""Masked language model pretraining.  accelerate launch recipes/mlm.py --dataset path/to/texts"""

from hfssl.config import parse
from hfssl.data.text_config import TextDataConfig
from hfssl.methods.mlm_config import MLMConfig


def main() -> None:
    run = parse(MLMConfig, TextDataConfig)
    from hfssl.methods.mlm import MLM  # heavy imports after the flags are known to be good
    from hfssl.pretrain import pretrain

    pretrain(MLM, run)


if __name__ == "__main__":
    main()
