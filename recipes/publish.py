"""Publish a run on the Hub, in one commit.  python recipes/publish.py --run runs/mae-000 --hub_model_id NAME"""

from hfssl.config.parse import parse_plain
from hfssl.hub.publish_config import PublishConfig


def main() -> None:
    config = parse_plain(PublishConfig, str(__doc__))
    from hfssl.commands.publish import publish  # heavy imports after the flags are known to be good

    publish(config)


if __name__ == "__main__":
    main()
