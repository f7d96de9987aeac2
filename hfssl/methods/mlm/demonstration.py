"""Sentences with a hidden word, and the words that an exported masked model finds likeliest there."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import pipeline

from hfssl.methods.first_sentences import first_sentences
from hfssl.objective import Example

_SENTENCES, _WORDS_SHOWN = 3, 3


def filled_blanks(export: Path, tokenizer: Any, texts: Iterable[str]) -> list[Example]:
    """Three sentences, one word of each hidden, with the export's likeliest words for it."""
    fill = pipeline("fill-mask", model=str(export), top_k=_WORDS_SHOWN, device="cpu")
    examples: list[Example] = []
    for sentence in first_sentences(texts, _SENTENCES):
        words = sentence.split()
        hidden = max(
            range(2, len(words) - 1), key=lambda index: (words[index].isalpha(), -abs(index - len(words) // 2))
        )
        before, after = " ".join(words[:hidden]), " ".join(words[hidden + 1 :])
        answers = fill(f"{before} {tokenizer.mask_token} {after}")
        guesses = [[answer["token_str"].strip(), answer["score"]] for answer in answers]
        examples.append({"before": before, "hidden": words[hidden], "after": after, "guesses": guesses})
    return examples
