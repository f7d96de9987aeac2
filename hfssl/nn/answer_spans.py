"""The span of a text that answers a question, read off the logits of all windows that the text was cut into.

T tokens of a window.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

NO_SCORE = float("-inf")


class WindowLogits(NamedTuple):
    """logits_T2: (T, 2) float32 of the first and of the last token; starts_T, ends_T: (T,) int, the characters of the text where
    each token lies, negative for tokens that are no part of it."""

    logits_T2: Tensor
    starts_T: Tensor
    ends_T: Tensor


class FoundSpan(NamedTuple):
    """Characters `begin` to `end` (not included) of the text; score: the sum of both logits; probability: the product of the
    probabilities of both ends among the tokens of the window."""

    score: float
    begin: int
    end: int
    probability: float


NO_SPAN = FoundSpan(NO_SCORE, 0, 0, 0.0)


def best_answer(windows: Iterable[WindowLogits], most: int) -> tuple[FoundSpan, FoundSpan]:
    """(the span of highest score in any window, of at most `most` tokens; no answer, as the window says that says it least).

    A window without tokens of the text has no span. No answer is the first token (Devlin et al. 2019, section 4.3).
    """
    best, nothing = NO_SPAN, FoundSpan(float("inf"), 0, 0, 0.0)
    for logits_T2, starts_T, ends_T in windows:
        first_T, last_T = logits_T2.unbind(dim=1)
        score, begin, end = best_span(first_T, last_T, starts_T >= 0, most)
        if score > best.score:
            best = FoundSpan(score, int(starts_T[begin]), int(ends_T[end]), _both(logits_T2, begin, end))
        score = float(first_T[0] + last_T[0])
        if score < nothing.score:
            nothing = FoundSpan(score, 0, 0, _both(logits_T2, 0, 0))
    return best, nothing


def _both(logits_T2: Tensor, first: int, last: int) -> float:
    probabilities_T2 = logits_T2.softmax(dim=0)
    return float(probabilities_T2[first, 0] * probabilities_T2[last, 1])


def best_span(first_T: Tensor, last_T: Tensor, in_text_T: Tensor, most: int) -> tuple[float, int, int]:
    """(sum of logits, first token, last token) of the best span of at most `most` tokens inside the text."""
    num_tokens = len(first_T)
    first_T, last_T = (logits_T.masked_fill(~in_text_T, NO_SCORE) for logits_T in (first_T, last_T))
    allowed_TT = torch.ones(num_tokens, num_tokens, dtype=torch.bool, device=first_T.device).triu().tril(most - 1)
    sums_TT = (first_T[:, None] + last_T[None, :]).masked_fill(~allowed_TT, NO_SCORE)
    place = int(sums_TT.argmax())
    return float(sums_TT.flatten()[place]), place // num_tokens, place % num_tokens
