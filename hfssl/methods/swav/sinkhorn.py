"""Codes that use all prototypes equally, by the Sinkhorn-Knopp algorithm over all ranks.

B samples per rank, N samples over all ranks, Q rows of a queue, K prototypes.
"""

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from hfssl.distributed import all_reduce_max, all_reduce_sum, rank, world_size
from hfssl.nn.precision import no_autocast, to_float32


@torch.no_grad()
def sinkhorn(scores_BK: Tensor, *, epsilon: float, iterations: int, queued_QK: Tensor | None = None) -> Tensor:
    """Soft codes near the scores under equal use of the prototypes (Caron et al. 2020, section 3.1, equations 3 to 5,
    and the appendix on the implementation; Cuturi 2013).

    Call it crop by crop. Ranks may hold different numbers of samples. Logarithms are normalised, since at a small epsilon the
    codes of a sample or prototype that is opposite to all others are 0 in float32.

    Args:
        scores_BK: cosines of samples and prototypes.
        epsilon: smoothness of the codes, 0.05 in the paper; iterations: 3 in the paper.
        queued_QK: scores of a queue that all ranks share; each rank counts its own part of it, so that every row counts
            once. The codes of queued rows are not returned.

    Returns:
        (B, K) float32 or float64: each row sums to 1; over all rows of all ranks each prototype gets about N / K.
    """
    num_samples = len(scores_BK)
    if queued_QK is not None:
        scores_BK = torch.cat([to_float32(scores_BK), to_float32(queued_QK[rank() :: world_size()])])
    with no_autocast(scores_BK):
        log_codes_BK = to_float32(scores_BK) / epsilon
        for _ in range(iterations):
            log_codes_BK = log_codes_BK - _log_sum_of_samples(log_codes_BK)
            log_codes_BK = log_softmax(log_codes_BK, dim=1)
    return log_codes_BK[:num_samples].exp()


def _log_sum_of_samples(log_codes_BK: Tensor) -> Tensor:
    """The logarithm of each prototype's sum over the samples of all ranks; (K,)."""
    own_K = log_codes_BK.logsumexp(dim=0)
    largest_K = all_reduce_max(own_K)
    return largest_K + all_reduce_sum((own_K - largest_K).exp()).log()
