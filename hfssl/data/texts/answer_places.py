"""Where the answers of questions lie in their texts, and which of them do not lie where the data says."""

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

from hfssl.errors import ConfigError


class Gold(TypedDict):
    """The answers of a question, with the characters of the text at which they begin."""

    text: list[str]
    answer_start: list[int]


class Places(NamedTuple):
    """Of each question the characters at which its answer begins and ends, or None; and whether it has an answer that does
    not stand where it should. num_in_bytes: answers whose start counts the bytes of UTF-8."""

    spans: list[tuple[int, int] | None]
    is_lost: list[bool]
    num_in_bytes: int


def answer_places(golds: Sequence[Gold], contexts: Sequence[str]) -> Places:
    """The first answer of each question that stands at its `answer_start`, counted in characters or else in bytes."""
    spans, is_lost, num_in_bytes = [], [], 0
    for gold, context in zip(golds, contexts, strict=True):
        answers = [(str(text), int(start)) for text, start in zip(gold["text"], gold["answer_start"], strict=False)]
        span = next((found for text, start in answers if (found := _span(context, text, start))), None)
        if span is None and not context.isascii():
            starts = [(text, _character(context, start)) for text, start in answers]
            span = next((found for text, start in starts if (found := _span(context, text, start))), None)
            num_in_bytes += span is not None
        spans.append(span)
        is_lost.append(bool(gold["text"]) and span is None)
    return Places(spans, is_lost, num_in_bytes)


def refuse_lost(places: Places, golds: Sequence[Gold], split: str) -> None:
    """Raise ConfigError where more than half of the answers do not stand at their `answer_start`."""
    num_lost, num_answers = sum(places.is_lost), sum(bool(gold["text"]) for gold in golds)
    if 2 * num_lost > num_answers:
        raise ConfigError(
            f"{num_lost} of {num_answers} answers of {split} do not stand at their answer_start, which counts the characters "
            "of the text from 0: correct that column"
        )


def _span(context: str, text: str, start: int) -> tuple[int, int] | None:
    return (start, start + len(text)) if text and start >= 0 and context.startswith(text, start) else None


def _character(context: str, start: int) -> int:
    """The character that begins at a byte of the text's UTF-8."""
    return len(context.encode()[: max(0, start)].decode(errors="ignore"))
