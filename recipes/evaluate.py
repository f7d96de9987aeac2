"""Evaluate any image checkpoint.  python recipes/evaluate.py --model runs/mae-000 --dataset path/to/labelled/images"""

from hfssl.config.parse import parse_plain
from hfssl.evaluation.evaluate_config import EvaluateConfig


def main() -> None:
    config = parse_plain(EvaluateConfig, str(__doc__))
    from hfssl.commands.evaluate import evaluate  # heavy imports after the flags are known to be good

    evaluate(config)


if __name__ == "__main__":
    main()
