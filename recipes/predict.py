"""Answers of a fine-tuned model as CSV or JSONL.  python recipes/predict.py --model CHECKPOINT --input FILE_OR_FOLDER"""

from hfssl.config.parse import parse_plain
from hfssl.predicting.predict_config import PredictConfig


def main() -> None:
    config = parse_plain(PredictConfig, str(__doc__))
    from hfssl.commands.predict import predict  # heavy imports after the flags are known to be good

    predict(config)


if __name__ == "__main__":
    main()
