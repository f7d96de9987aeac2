"""What a model will see of your images, before it trains.  python recipes/preview.py --dataset path --augmentation natural"""

from hfssl.commands.preview_config import PreviewConfig
from hfssl.config.parse import parse_plain


def main() -> None:
    config = parse_plain(PreviewConfig, str(__doc__))
    from hfssl.commands.preview import preview  # heavy imports after the flags are known to be good

    preview(config)


if __name__ == "__main__":
    main()
