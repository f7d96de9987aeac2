"""The contrastive loss of SimCLR over all ranks: each view finds the other view of its image among all other views.

B images per rank, N images over all ranks, D width.
"""

import torch
from torch import Tensor

from hfssl.distributed import all_gather_with_gradient, rank, world_size
from hfssl.nn.cross_entropy import summed_cross_entropy
from hfssl.nn.precision import no_autocast, unit_rows


def nt_xent(first_BD: Tensor, second_BD: Tensor, temperature: float) -> Tensor:
    """NT-Xent (Chen et al. 2020, "A simple framework for contrastive learning", equation 1 and algorithm 1).

    Each rank sums over the 2B views that it holds, compared with the 2N - 1 other views of all ranks. Gathering sums
    the gradients of all ranks' losses, so that the average of the parameter gradients over ranks, times their number, is
    that of one process with N images. Random features in many dimensions give about ln(2N - 1) a view.

    Args:
        first_BD, second_BD: projections of the two views, any length, the same B on all ranks.
        temperature: of the cosines.

    Returns:
        0-d, float32 or float64: the sum over this rank's 2B targets.
    """
    with no_autocast(first_BD):
        num_images, num_joined = len(first_BD), len(first_BD) * world_size()
        own = torch.cat([unit_rows(first_BD), unit_rows(second_BD)])
        first_ND, second_ND = (all_gather_with_gradient(view) for view in own.chunk(2))
        logits = own @ torch.cat([first_ND, second_ND]).T / temperature  # (2B, 2N)
        places_B = torch.arange(num_images, device=own.device) + rank() * num_images
        itself = torch.cat([places_B, places_B + num_joined])
        positives = torch.cat([places_B + num_joined, places_B])
        logits = logits.scatter(1, itself[:, None], -torch.inf)
        return summed_cross_entropy(logits, positives)
