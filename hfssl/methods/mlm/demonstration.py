"""Sentences with a hidden word, and the words that an exported masked model finds likeliest there."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from transformers import pipeline

from hfssl.methods.first_sentences import first_sentences
from hfssl.objective import Example

_SENTENCES, _WORDS_SHOWN = 3, 3


class Blank(NamedTuple):
    """A hidden word between the words before and after it."""

    before: str
    hidden: str
    after: str


def filled_blanks(export: Path, tokenizer: Any, texts: Iterable[str], longest: int) -> list[Example]:
    """Three sentences, one word of each hidden, with the export's likeliest words for it.

    longest: tokens that the model reads; longer sentences are cut around their blank.
    """
    fill = pipeline("fill-mask", model=str(export), top_k=_WORDS_SHOWN, device="cpu")
    examples: list[Example] = []
    for sentence in first_sentences(texts, _SENTENCES):
        blank = blank_within(sentence.split(), tokenizer, longest)
        if blank is None:
            continue
        answers = fill(_masked(blank, tokenizer))
        guesses = [[answer["token_str"].strip(), answer["score"]] for answer in answers]
        examples.append(blank._asdict() | {"guesses": guesses})
    return examples


def blank_within(words: list[str], tokenizer: Any, longest: int) -> Blank | None:
    """A word near the middle as a blank, with as many words around it as fit; None where not even one does."""
    hidden = max(range(2, len(words) - 1), key=lambda index: (words[index].isalpha(), -abs(index - len(words) // 2)))
    start, stop = 0, len(words)
    while start < hidden or stop > hidden + 1:
        blank = Blank(" ".join(words[start:hidden]), words[hidden], " ".join(words[hidden + 1 : stop]))
        if len(tokenizer(_masked(blank, tokenizer))["input_ids"]) <= longest:
            return blank
        if hidden - start >= stop - hidden - 1:
            start += 1
        else:
            stop -= 1
    return None


def _masked(blank: Blank, tokenizer: Any) -> str:
    return " ".join(filter(None, (blank.before, tokenizer.mask_token, blank.after)))
