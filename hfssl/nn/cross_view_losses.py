"""Cross-entropy between the views of an image, never of a view with itself: the losses of DINO and SwAV.

B images, G global crops, V crops in all (the global ones first), K prototypes.
"""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, softmax

from hfssl.nn.precision import no_autocast, to_float32


def cross_view_cross_entropy(targets_BGK: Tensor, logits_BVK: Tensor) -> Tensor:
    """The cross-entropy of each target with the prediction of each other view.

    Args:
        targets_BGK: probabilities of the G global crops, taken without gradient.
        logits_BVK: of all V crops, the first G being those of the targets.

    Returns:
        0-d, float32 or float64: the sum over `num_view_pairs(B, G, V)` targets.
    """
    with no_autocast(logits_BVK):
        log_probabilities = log_softmax(to_float32(logits_BVK), dim=2).unbind(dim=1)
        targets = to_float32(targets_BGK.detach()).unbind(dim=1)
        all_targets_BK = _sum_of(targets)
        losses_B = []
        for view, log_probabilities_BK in enumerate(log_probabilities):
            others = [target_BK for crop, target_BK in enumerate(targets) if crop != view]
            if others:
                expected_BK = all_targets_BK if len(others) == len(targets) else _sum_of(others)
                losses_B.append(-(expected_BK * log_probabilities_BK).sum(dim=1))  # a matrix product rounds far more
        return torch.cat(losses_B).sum()


def _sum_of(tensors: Sequence[Tensor]) -> Tensor:
    return reduce(torch.add, tensors)


def num_view_pairs(num_images: int, num_targets: int, num_views: int) -> int:
    """Targets of `cross_view_cross_entropy`: each global crop of an image is predicted by all other crops of it."""
    return num_images * num_targets * (num_views - 1)


def swapped_prediction(codes_BGK: Tensor, scores_BVK: Tensor, temperature: float) -> Tensor:
    """The loss of SwAV (Caron et al. 2020, "Unsupervised learning by contrasting cluster assignments", equations 1, 2
    and 6): every other crop, the local ones included, predicts a global crop's code.

    Args:
        codes_BGK: of `sinkhorn`, crop by crop.
        scores_BVK: cosines with the prototypes; temperature: theirs, 0.1 in the paper.

    Returns:
        0-d, float32 or float64: the sum over `num_view_pairs(B, G, V)` targets.
    """
    return cross_view_cross_entropy(codes_BGK, to_float32(scores_BVK) / temperature)


def self_distillation(
    teacher_BGK: Tensor,
    student_BVK: Tensor,
    centre_K: Tensor,
    *,
    teacher_temperature: float,
    student_temperature: float,
) -> Tensor:
    """The loss of DINO (Caron et al. 2021, "Emerging properties in self-supervised vision transformers", equations 1
    to 3 and algorithm 1): the student follows the centred and sharpened teacher on other crops of the image.

    Args:
        teacher_BGK: the teacher's logits of the global crops, taken without gradient.
        student_BVK: the student's logits of all crops, the global ones first.
        centre_K: what is subtracted from the teacher's logits, as `Centre` holds it.
        teacher_temperature, student_temperature: 0.04 to 0.07 and 0.1 in the paper.

    Returns:
        0-d, float32 or float64: the sum over `num_view_pairs(B, G, V)` targets; ln K a target where all logits are equal.
    """
    centred_BGK = to_float32(teacher_BGK.detach()) - to_float32(centre_K)
    targets_BGK = softmax(centred_BGK / teacher_temperature, dim=2)
    return cross_view_cross_entropy(targets_BGK, to_float32(student_BVK) / student_temperature)
