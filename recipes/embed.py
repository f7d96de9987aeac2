"""Embeddings of all images, for search and anomaly detection.  python recipes/embed.py --model runs/mae-000 --dataset path"""

from hfssl.config import parse_plain
from hfssl.embed_config import EmbedConfig


def main() -> None:
    wanted = parse_plain(EmbedConfig, str(__doc__))
    from hfssl.embed import embed  # heavy imports after the flags are known to be good

    embed(wanted)


if __name__ == "__main__":
    main()
