"""Product quantisation by Gumbel softmax. N utterances, S frames, C width, G codebooks of V entries, D width of an entry.

Baevski et al. 2020, "wav2vec 2.0", arXiv 2006.11477, section 2 and equation 4; Jang et al. 2017, arXiv 1611.01144.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot, softmax
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2GumbelVectorQuantizer

from hfssl.distributed import all_reduce_sum_with_gradient
from hfssl.nn.precision import no_autocast, to_float32
from hfssl.randomness import uniform

_HALF_A_STEP = 2.0**-25  # in place of 0; added to the largest of the uniform numbers it would make 1


class Quantised(NamedTuple):
    """vectors_NSW: the chosen entries of all codebooks joined, W = G * D; codes_NSG: their numbers, int64; logits_NSGV: in
    float32."""

    vectors_NSW: Tensor
    codes_NSG: Tensor
    logits_NSGV: Tensor


def gumbel_noise(keys_N: Tensor, num_masked_positions: int, num_codebooks: int, num_entries: int) -> Tensor:
    """Standard Gumbel draws keyed by the utterance; (N, S, G, V) float32."""
    draws = uniform(keys_N, "gumbel", num_masked_positions * num_codebooks * num_entries).clamp(min=_HALF_A_STEP)
    return -(-draws.log()).log().view(len(keys_N), num_masked_positions, num_codebooks, num_entries)


def quantised(
    quantizer: Wav2Vec2GumbelVectorQuantizer, features_NSC: Tensor, noise_NSGV: Tensor | None, temperature: float
) -> Quantised:
    """What transformers' `Wav2Vec2GumbelVectorQuantizer` chooses, with its parameters: its product of one-hot rows and entries
    is a contraction here, which materialises no (N * S, G * V, D).

    Args:
        noise_NSGV: Gumbel draws; None chooses the likeliest entry without a gradient through the choice, as in eval mode.
    """
    num_codebooks, num_entries = quantizer.num_groups, quantizer.num_vars
    logits = to_float32(quantizer.weight_proj(features_NSC)).unflatten(2, (num_codebooks, num_entries))
    with no_autocast(logits):
        soft = None if noise_NSGV is None else softmax((logits + noise_NSGV) / temperature, dim=3)
        codes = (logits if soft is None else soft).argmax(dim=3)
        chosen = one_hot(codes, num_entries).to(logits.dtype)
        if soft is not None:
            chosen = chosen - soft.detach() + soft  # forward the choice, backward the softmax
        entries_GVD = to_float32(quantizer.codevectors).view(num_codebooks, num_entries, -1)
        vectors = torch.einsum("nsgv,gvd->nsgd", chosen, entries_GVD).flatten(2)
    return Quantised(vectors, codes, logits)


def code_perplexity(logits_NSGV: Tensor, used_NS: Tensor) -> Tensor:
    """exp of the entropy of each codebook's mean distribution over the used frames of all ranks, summed over codebooks: from G
    to G * V (equation 4); 0-d, with a gradient."""
    num_codebooks, num_entries = logits_NSGV.shape[2:]
    probabilities = softmax(logits_NSGV, dim=3) * used_NS[:, :, None, None]
    sums = torch.cat([probabilities.sum(dim=(0, 1)).flatten(), used_NS.sum().to(logits_NSGV.dtype)[None]])
    joined = all_reduce_sum_with_gradient(sums)
    mean_GV = joined[:-1].view(num_codebooks, num_entries) / joined[-1].clamp(min=1.0)
    above_0_GV = mean_GV.clamp(min=torch.finfo(mean_GV.dtype).tiny)  # an entry that no frame nears has a gradient of 0
    return torch.exp(-torch.xlogy(mean_GV, above_0_GV).sum(dim=1)).sum()
