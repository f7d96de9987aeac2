"""Samples shuffled over the batch and the ranks, and back, so that a BatchNorm cannot tell which belong together.

B samples per rank, N samples over all ranks (He et al. 2020, "Momentum contrast", section 3.3).
"""

from dataclasses import dataclass

from torch import Tensor

from hfssl.distributed import all_gather_with_gradient, rank
from hfssl.randomness import splitmix64, stream_id

_STREAM = stream_id("shuffle")


@dataclass(frozen=True)
class Shuffle:
    """A permutation of all ranks' samples, the same on every rank: place n holds sample `order_N[n]` of the joined batch."""

    order_N: Tensor

    def do(self, rows_B: Tensor) -> Tensor:
        """(B, ...) -> (B, ...): this rank's places of the shuffled batch. Called by all ranks."""
        return _own_share(rows_B, self.order_N)

    def undo(self, rows_B: Tensor) -> Tensor:
        """(B, ...) -> (B, ...): what was computed on the shuffled samples, back where they came from. Called by all ranks."""
        return _own_share(rows_B, self.order_N.argsort())


def keyed_shuffle(keys_B: Tensor) -> Shuffle:
    """The shuffle that the samples' int64 keys dictate, however they lie on ranks; B must be the same on all. Called by all."""
    keys_N = all_gather_with_gradient(keys_B)
    return Shuffle(splitmix64(keys_N ^ _STREAM).argsort(stable=True))


def _own_share(rows_B: Tensor, order_N: Tensor) -> Tensor:
    num_rows = len(rows_B)
    start = rank() * num_rows
    return all_gather_with_gradient(rows_B)[order_N[start : start + num_rows]]
