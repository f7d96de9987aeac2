"""Causal language model pretraining.  accelerate launch recipes/clm.py --dataset path/to/texts"""

from hfssl.config import parse
from hfssl.data.text_config import TextDataConfig
from hfssl.methods.clm_config import CLMConfig


def main() -> None:
    run = parse(CLMConfig, TextDataConfig)
    from hfssl.methods.clm import CLM  # heavy imports after the flags are known to be good
    from hfssl.pretrain import pretrain

    pretrain(CLM, run)


if __name__ == "__main__":
    main()
