"""Cheap signs of life of a training batch: detached 0-d tensors that nothing waits for.

B samples, N rows, D width, K outputs, C channels, S side.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from hfssl.nn.precision import norms, to_float32, unit_rows
from hfssl.objective import is_matrix

_LOOKED_AT = 16  # pixels a side of a view that are compared: a few hundred tell as much as all
_ALMOST_NOTHING = 1e-12
_FEWEST_ROWS = 8  # of a micro-batch whose mean says something of all samples


@torch.no_grad()
def embedding_std(projections_BD: Tensor, used_B: Tensor | None = None) -> Tensor:
    """Standard deviation of the unit rows over the batch times sqrt(D): 1 if isotropic, 0 if constant (Chen & He 2021,
    "Exploring simple Siamese representation learning", section 4.1); 0-d float.

    Args:
        used_B: bool, the rows to look at; of none it is 1.
    """
    rows_BD = unit_rows(projections_BD.detach())
    if used_B is not None:
        weights_B1 = used_B[:, None] / used_B.sum().clamp(min=1)
        centred_BD = rows_BD - (rows_BD * weights_B1).sum(dim=0)
        std_D = (centred_BD.square() * weights_B1).sum(dim=0).sqrt()
        return torch.where(used_B.any(), std_D.mean() * math.sqrt(rows_BD.shape[1]), 1.0)
    return rows_BD.std(dim=0, correction=0).mean() * math.sqrt(rows_BD.shape[1])


@torch.no_grad()
def target_signals(targets_NK: Tensor) -> dict[str, Tensor]:
    """Entropies of the targets, as shares of the largest that they could have (Caron et al. 2021, section 5.2 and figure 7,
    tells the two collapses of a teacher apart by the first).

    Args:
        targets_NK: probabilities.

    Returns:
        teacher_entropy: mean entropy of a target over ln K; 1: every target is uniform.
        marginal_entropy: entropy of the mean target over ln min(K, N), above 1 where soft targets spread wider than N rows
            could; 0: one output is the target of all samples. Left out for fewer than 8 rows, which may well share one.
    """
    rows_NK = to_float32(targets_NK.detach())
    num_rows, num_outputs = rows_NK.shape
    largest = math.log(max(2, num_outputs))
    of_rows = torch.special.entr(rows_NK).sum(dim=1).mean()
    if num_rows < _FEWEST_ROWS:
        return {"teacher_entropy": of_rows / largest}
    of_mean = torch.special.entr(rows_NK.mean(dim=0)).sum()
    return {
        "teacher_entropy": of_rows / largest,
        "marginal_entropy": of_mean / math.log(max(2, min(num_outputs, num_rows))),
    }


@torch.no_grad()
def prototype_usage(scores_NK: Tensor) -> Tensor:
    """exp of the entropy of how often each prototype is the nearest, over min(K, N): 1 if all are alike in use, near 0 where
    one takes all samples; 0-d float."""
    num_rows, num_prototypes = scores_NK.shape
    nearest_N = scores_NK.detach().argmax(dim=1)
    ones_N = torch.ones(num_rows, device=scores_NK.device)
    counts_K = torch.zeros(num_prototypes, device=scores_NK.device).index_add_(
        0, nearest_N, ones_N
    )  # whole numbers: exact
    return torch.special.entr(counts_K / num_rows).sum().exp() / min(num_prototypes, num_rows)


@torch.no_grad()
def view_distance(crops_BVCSS: Tensor) -> Tensor:
    """Mean squared difference of the first two views of an image, over that of views of different images: 0 where nothing
    is done to them; 0-d float, 1 where all images are one."""
    stride = max(1, crops_BVCSS.shape[-1] // _LOOKED_AT)
    first, second = to_float32(crops_BVCSS.detach()[..., ::stride, ::stride])[:, :2].unbind(dim=1)
    others = (first - second.roll(1, dims=0)).square().mean()
    return torch.where(others > _ALMOST_NOTHING, (first - second).square().mean() / others, 1.0)


@torch.no_grad()
def teacher_figures(teacher: Iterable[Tensor], student: Iterable[Tensor]) -> dict[str, Tensor]:
    """How a teacher stands to its student; 0-d float64, by a pass over the weights.

    Returns:
        teacher_distance: norm of the difference over that of the student.
        teacher_mark: a sum that changes when the teacher moves.
        teacher_shared: share of the tensors that lie in the student's own storage.
    """
    teachers: list[Tensor] = list(teacher)
    students: list[Tensor] = list(student)
    shared = sum(old.data_ptr() == new.data_ptr() for old, new in zip(teachers, students, strict=True))
    apart, size = _norm(list(torch._foreach_sub(teachers, students))), _norm(students)
    return {
        "teacher_distance": apart / size.clamp(min=_ALMOST_NOTHING),
        "teacher_mark": weight_mark(teachers),
        "teacher_shared": torch.full_like(size, shared / len(teachers)),
    }


@torch.no_grad()
def weight_figures(model: nn.Module) -> dict[str, Tensor]:
    """Of the trainable parameters: weight_norm, of matrices, and weight_mark, a sum that changes when they move; 0-d
    float64."""
    trainable: list[Tensor] = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trainable if is_matrix(parameter)] or trainable
    return {"weight_norm": _norm(matrices), "weight_mark": weight_mark(trainable)}


def weight_mark(parameters: Iterable[Tensor]) -> Tensor:
    """The sum of all elements in float64: linear, so that the smallest move shows, unlike in a norm."""
    return torch.stack([parameter.sum(dtype=torch.float64) for parameter in parameters]).sum()


def _norm(tensors: list[Tensor]) -> Tensor:
    return torch.stack(norms(tensors)).norm()
