"""How many frames convolutions without padding make of samples."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

Count = TypeVar("Count", int, "Tensor")


def num_frames(samples: Count, kernels: Iterable[int], strides: Iterable[int]) -> Count:
    """Frames of so many samples, a number or an int64 tensor; 0 or less where there are too few."""
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples
