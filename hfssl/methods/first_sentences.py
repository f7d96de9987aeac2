"""The texts that a language model shows what it can do with: their beginnings."""

from collections.abc import Iterable

_LONGEST, _FEWEST_WORDS, _MOST_WORDS = 160, 12, 24


def first_sentences(texts: Iterable[str], num: int) -> list[str]:
    """The beginnings of the first `num` texts that are long enough to leave something out."""
    found: list[str] = []
    for text in texts:
        words = text.split()[:_MOST_WORDS]
        if len(words) >= _FEWEST_WORDS:
            found.append(" ".join(words)[:_LONGEST])
        if len(found) == num:
            break
    return found
