"""Causal language model pretraining.  accelerate launch recipes/clm.py --dataset path/to/texts"""

from hfssl.config.parse import parse
from hfssl.data.texts.config import TextDataConfig
from hfssl.methods.clm.config import CLMConfig


def main() -> None:
    run = parse(CLMConfig, TextDataConfig)
    from hfssl.commands.pretrain import pretrain
    from hfssl.methods.clm.objective import CLM  # heavy imports after the flags are known to be good

    pretrain(CLM, run)


if __name__ == "__main__":
    main()
