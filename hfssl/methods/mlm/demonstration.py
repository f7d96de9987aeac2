"""Sentences with a hidden word, and the words that an exported masked model finds likeliest there."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import pipeline

from hfssl.methods.first_sentences import first_sentences

_SENTENCES, _WORDS_SHOWN = 3, 3


def filled_blanks(export: Path, tokenizer: Any, texts: Iterable[str]) -> list[str]:
    """Three sentences, one word of each hidden, with the export's likeliest words for it."""
    fill = pipeline("fill-mask", model=str(export), top_k=_WORDS_SHOWN, device="cpu")
    mask, lines = tokenizer.mask_token, []
    for sentence in first_sentences(texts, _SENTENCES):
        words = sentence.split()
        hidden = max(
            range(2, len(words) - 1), key=lambda index: (words[index].isalpha(), -abs(index - len(words) // 2))
        )
        blanked = " ".join([*words[:hidden], mask, *words[hidden + 1 :]])
        guesses = ", ".join(f"{guess['token_str'].strip()} {guess['score']:.0%}" for guess in fill(blanked))
        lines.append(f"{blanked.replace(mask, '____')}   [{words[hidden]}]  guesses: {guesses}")
    return lines
