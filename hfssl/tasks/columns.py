"""What the columns of a data set hold, as far as it tells which task they are for."""

from typing import Literal, NamedTuple

Holds = Literal["questions", "images", "recordings", "words", "texts", "nothing"]


class Columns(NamedTuple):
    """holds: what the samples are; has_classes, has_texts: whether there is a column of classes, and one of texts."""

    holds: Holds
    has_classes: bool
    has_texts: bool
