"""Long texts cut where a tokenizer would cut them anyway, so that pieces have the tokens of the whole."""

import re
from collections.abc import Iterator

from tokenizers import Tokenizer

_SINGLE_SPACE = re.compile(r"(?<=\S) (?=\S)")
_LAST_SPACE = re.compile(r"\s(?=\S)")
_NEAR = 2_000


class Cutter:
    """Pieces of at most `most` characters, cut before a single space between words.

    Where a stretch of `most / 2` characters has none, the cut is before the last white space of a run, which is right for
    WordPiece, unigram and GPT-2's byte-level BPE too, but may split the token of a longer run in others. Where there is no
    white space either, words are cut: Chinese characters are tokens or words of their own in most tokenizers.
    """

    def __init__(self, tokenizer: Tokenizer, most: int) -> None:
        self._most = most
        first, second, whole = (
            tokenizer.encode(text, add_special_tokens=False).ids for text in ("two", " words", "two words")
        )
        self._keeps_space = first + second == whole  # else the tokenizer sets one before every text by itself

    def __call__(self, text: str) -> Iterator[str]:
        """Consecutive pieces of `text`: itself where it is short."""
        start = 0
        while len(text) - start > self._most:
            end = self._end(text, start)
            yield text[start:end]
            start = end if self._keeps_space or text[end] != " " else end + 1
        yield text[start:]

    def _end(self, text: str, start: int) -> int:
        last = start + self._most
        middle = start + self._most // 2
        for pattern, first in ((_SINGLE_SPACE, last - _NEAR), (_SINGLE_SPACE, middle), (_LAST_SPACE, middle)):
            found = [match.start() for match in pattern.finditer(text, max(first, middle), last + 1)]
            if found:
                return found[-1]
        return last
