"""Embeddings of all images, for search and anomaly detection.  python recipes/embed.py --model runs/mae-000 --dataset path"""

from hfssl.commands.embed_config import EmbedConfig
from hfssl.config.parse import parse_plain


def main() -> None:
    config = parse_plain(EmbedConfig, str(__doc__))
    from hfssl.commands.embed import embed  # heavy imports after the flags are known to be good

    embed(config)


if __name__ == "__main__":
    main()
