"""A text that an exported causal model continues."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import pipeline

from hfssl.methods.first_sentences import first_sentences
from hfssl.objective import Example

_WORDS_BEFORE, _NEW_TOKENS, _TOP_K = 6, 40, 50


def continued(export: Path, tokenizer: Any, texts: Iterable[str], longest: int) -> list[Example]:
    """A sampled continuation of the first words of a text; longest: tokens of words and continuation together.

    None where no text has enough words, or one word fills the model.
    """
    generate = pipeline("text-generation", model=str(export), device="cpu")
    words = " ".join(first_sentences(texts, 1)).split()[:_WORDS_BEFORE]
    while len(words) > 1 and 2 * len(tokenizer(" ".join(words))["input_ids"]) > longest:
        words.pop()
    prompt = " ".join(words)
    room = longest - len(tokenizer(prompt)["input_ids"])
    if not prompt or room < 1:
        return []
    torch.manual_seed(0)
    (answer,) = generate(
        prompt, max_new_tokens=min(_NEW_TOKENS, room), do_sample=True, top_k=_TOP_K, return_full_text=False
    )
    return [{"prompt": prompt, "continued": " ".join(answer["generated_text"].split())}]
