"""What a model will see of your images, before it trains.  python recipes/preview.py --dataset path --augmentation natural"""

from hfssl.config import parse_plain
from hfssl.preview_config import PreviewConfig


def main() -> None:
    wanted = parse_plain(PreviewConfig, str(__doc__))
    from hfssl.preview import preview  # heavy imports after the flags are known to be good

    preview(wanted)


if __name__ == "__main__":
    main()
