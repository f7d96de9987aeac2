"""The contrastive loss of MoCo: a query finds its key among the keys of earlier batches. B samples, Q slots, D width."""

import torch
from torch import Tensor

from hfssl.nn.cross_entropy import summed_cross_entropy
from hfssl.nn.precision import no_autocast, unit_rows


def info_nce(queries_BD: Tensor, keys_BD: Tensor, queue_QD: Tensor, temperature: float) -> Tensor:
    """InfoNCE with a queue of negatives (He et al. 2020, "Momentum contrast", equation 1 and algorithm 1).

    The queue is read as it is, before this batch's keys enter it: with them, each positive would be a negative too.

    Args:
        queries_BD: with gradient; keys_BD: without, whatever they bring. Both of any length.
        queue_QD: unit rows, as `FeatureQueue.features_QD` holds them where normalised keys were staged.
        temperature: of the cosines; 0.07 in MoCo, 0.2 in MoCo v2.

    Returns:
        0-d, float32 or float64: the sum over B targets.
    """
    with no_autocast(queries_BD):
        queries_BD, keys_BD = unit_rows(queries_BD), unit_rows(keys_BD.detach())
        positive_B1 = (queries_BD * keys_BD).sum(dim=1, keepdim=True)
        negative_BQ = queries_BD @ queue_QD.detach().to(queries_BD.dtype).T
        logits = torch.cat([positive_B1, negative_BQ], dim=1) / temperature
        return summed_cross_entropy(logits, torch.zeros_like(logits[:, 0], dtype=torch.int64))
