"""Which frames of an utterance a speech model has to tell apart: spans, and for each masked frame its distractors.

N utterances, T frames of the longest, S masked frames of the one with the most, K distractors, M frames of a span. Pure functions
of keys, one an utterance (Baevski et al. 2020, "wav2vec 2.0", arXiv 2006.11477, sections 3.1 and 3.2).
"""

import torch
from torch import Tensor

from hfssl.randomness import random_bits, uniform

_LAST = torch.iinfo(torch.int64).max


def masked_frames(
    keys_N: Tensor, frames_N: Tensor, probability: float, span: int, *, fewest: int = 1
) -> tuple[Tensor, Tensor]:
    """Frames in spans that start at different frames and may overlap.

    An utterance of F frames has `probability * F / M` spans, rounded up or down by a keyed draw, at least `fewest` where as many
    fit, all of them whole and inside its own frames; 0.65 and 10 hide about 49 %. One that is shorter than a span has none.

    Args:
        frames_N: int64, true lengths without padding.

    Returns:
        (index_NS int64 in ascending order, used_NS bool); slots that are not used hold 0.
    """
    longest = int(frames_N.max())
    starts_N = (frames_N - span + 1).clamp(min=0)
    wanted_N = (probability * frames_N / span + uniform(keys_N, "span count", 1)[:, 0]).floor().to(torch.int64)
    counts_N = torch.minimum(wanted_N.clamp(min=fewest), starts_N)
    places_T = torch.arange(longest)
    bits_NT = random_bits(keys_N, "span", longest)
    order_NT = bits_NT.masked_fill(places_T >= starts_N[:, None], _LAST).argsort(dim=1, stable=True)
    chosen_NT = places_T < counts_N[:, None]
    ends_NE = torch.zeros(len(keys_N), longest + span + 1, dtype=torch.int64)
    ends_NE.scatter_add_(1, order_NT, chosen_NT.to(torch.int64))
    ends_NE.scatter_add_(1, order_NT + span, -chosen_NT.to(torch.int64))
    hidden_NT = ends_NE.cumsum(dim=1)[:, :longest] > 0
    most = int(hidden_NT.sum(dim=1).max())
    first_NT = hidden_NT.sort(dim=1, descending=True, stable=True)
    used_NS = first_NT.values[:, :most]
    return first_NT.indices[:, :most] * used_NS, used_NS


def distractors(keys_N: Tensor, used_NS: Tensor, num_distractors: int) -> Tensor:
    """For each masked frame, slots of other masked frames of its utterance, drawn with replacement; (N, S, K) int64.

    Of an utterance with less than two masked frames, and in unused slots, they are slots that mean nothing.
    """
    num_utterances, num_masked_positions = used_NS.shape
    draws = uniform(keys_N, "distractor", num_masked_positions * num_distractors).view(
        num_utterances, num_masked_positions, num_distractors
    )
    others_N = (used_NS.sum(dim=1, keepdim=True)[:, :, None] - 1).clamp(min=0)
    slots = (draws * others_N).floor().to(torch.int64).minimum((others_N - 1).clamp(min=0))
    own_S = torch.arange(num_masked_positions, device=used_NS.device)[:, None]
    return (slots + (slots >= own_S)).clamp(max=num_masked_positions - 1)
