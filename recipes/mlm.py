"""Masked language model pretraining.  accelerate launch recipes/mlm.py --dataset path/to/texts"""

from hfssl.config.parse import parse
from hfssl.data.texts.config import TextDataConfig
from hfssl.methods.mlm.config import MLMConfig


def main() -> None:
    run = parse(MLMConfig, TextDataConfig)
    from hfssl.commands.pretrain import pretrain
    from hfssl.methods.mlm.objective import MLM  # heavy imports after the flags are known to be good

    pretrain(MLM, run)


if __name__ == "__main__":
    main()
