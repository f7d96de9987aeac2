"""The openers of rows that sessions have outside of tests."""

from hfssl.data.audio.source import open_recordings
from hfssl.data.images.source import open_images
from hfssl.data.texts.source import open_texts
from hfssl.runs import open_session as session


def use_real_rows() -> None:
    """Let sessions of this process open what the settings name."""
    session.OPENERS |= {"image": open_images, "text": open_texts, "audio": open_recordings}
