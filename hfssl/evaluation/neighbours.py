"""Nearest rows by the cosine of their features, and how strange a row is among them.

N rows, M queries, K neighbours, D width. Similarities are computed in blocks of queries: N x N never lies in memory.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from scipy.sparse import issparse
from sklearn.preprocessing import normalize as normalised_rows
from torch import Tensor
from torch.nn.functional import normalize

from hfssl.objective import Array

CPU = torch.device("cpu")
_MOST_SIMILARITIES = 2**24  # of one block, 64 MB
_MOST_QUERIES = 1024


class Nearest(NamedTuple):
    """For each query its nearest rows, nearest first: (M, K) int64 row numbers and (M, K) float32 cosines."""

    rows_MK: Tensor
    similarities_MK: Tensor


def nearest_rows(rows_ND: Array, num: int, device: torch.device = CPU, of: Sequence[int] | None = None) -> Nearest:
    """The `num` nearest other rows of each row, or of the M rows `of`; the row itself is left out, an equal one is not."""
    selves = torch.arange(len(rows_ND)) if of is None else torch.tensor(of)
    queries_MD = rows_ND if of is None else rows_ND[selves.numpy()]
    return _joined(_blocks(queries_MD, rows_ND, num, device=device, selves=selves))


def nearest_to(queries_MD: Array, rows_ND: Array, num: int, device: torch.device = CPU) -> Nearest:
    """The `num` nearest rows of each query."""
    return _joined(nearest_blocks(queries_MD, rows_ND, num, device))


def nearest_blocks(queries_MD: Array, rows_ND: Array, num: int, device: torch.device = CPU) -> Iterator[Nearest]:
    """`nearest_to` for one block of queries after the other."""
    return _blocks(queries_MD, rows_ND, num, device=device, selves=None)


def outlier_scores(similarities_NK: Array) -> Array:
    """(N,) float32: the mean cosine distance to the K nearest other rows, 0 for a row among copies of itself, at most 2.

    The mean over neighbours is that of Angiulli and Pizzuti 2002, "Fast outlier detection in high dimensional spaces"; on
    deep features it is the score of Bergman et al. 2020 (arXiv 2002.10445), here with cosine instead of Euclidean distance.
    """
    scores: Array = 1 - similarities_NK.mean(axis=1)
    return scores


def _blocks(
    queries_MD: Any, rows_ND: Any, num: int, *, device: torch.device, selves: Tensor | None
) -> Iterator[Nearest]:
    num_rows, num_queries = rows_ND.shape[0], queries_MD.shape[0]
    similarities = _sparse_similarities if issparse(rows_ND) else _similarities
    similarities_to = similarities(rows_ND, device)
    size = max(1, min(_MOST_QUERIES, _MOST_SIMILARITIES // num_rows))
    for start in range(0, num_queries, size):
        similarities_BN = similarities_to(queries_MD[start : start + size])
        if selves is not None:
            similarities_BN.scatter_(1, selves[start : start + size, None].to(device), -torch.inf)
        similarities_BK, rows_BK = similarities_BN.topk(num, dim=1)
        yield Nearest(rows_BK.cpu(), similarities_BK.cpu())


def _similarities(rows_ND: Array, device: torch.device) -> Callable[[Array], Tensor]:
    rows = normalize(torch.from_numpy(rows_ND).to(device, torch.float32), dim=1)

    def to_rows(queries_BD: Array) -> Tensor:
        return normalize(torch.from_numpy(queries_BD).to(device, torch.float32), dim=1) @ rows.T

    return to_rows


def _sparse_similarities(rows_ND: Any, device: torch.device) -> Callable[[Any], Tensor]:
    rows = normalised_rows(rows_ND)

    def to_rows(queries_BD: Any) -> Tensor:
        return torch.from_numpy((normalised_rows(queries_BD) @ rows.T).toarray()).to(device, torch.float32)

    return to_rows


def _joined(blocks: Iterator[Nearest]) -> Nearest:
    rows, similarities = zip(*blocks, strict=True)
    return Nearest(torch.cat(rows), torch.cat(similarities))
