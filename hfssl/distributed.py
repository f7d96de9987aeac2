"""Collectives on torch.distributed, with gradient where a loss needs it; the identity on one process.

R ranks, B samples per rank.
"""

from typing import Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Value = TypeVar("Value")


def is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    return dist.get_world_size() if is_distributed() else 1


def is_main_process() -> bool:
    return rank() == 0


def barrier() -> None:
    if is_distributed():
        dist.barrier()


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """The sum over ranks, without gradient; a new tensor."""
    summed = tensor.detach().clone()
    if is_distributed():
        dist.all_reduce(summed)
    return summed


def all_reduce_max(tensor: Tensor) -> Tensor:
    """The maximum over ranks, without gradient; a new tensor."""
    largest = tensor.detach().clone()
    if is_distributed():
        dist.all_reduce(largest, op=dist.ReduceOp.MAX)
    return largest


def all_gather_objects(value: Value) -> list[Value]:
    """`value` of each rank, in the order of ranks."""
    if not is_distributed():
        return [value]
    gathered = [value] * world_size()
    dist.all_gather_object(gathered, value)
    return gathered


def broadcast_object(value: Value) -> Value:
    """The main process's `value`, on every rank."""
    if not is_distributed():
        return value
    holder = [value]
    dist.broadcast_object_list(holder, src=0)
    return holder[0]


class _Gathered(Protocol):
    rows: int


class _AllReduceSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: _Gathered, tensor: Tensor) -> Tensor:
        return all_reduce_sum(tensor)

    @staticmethod
    def backward(ctx: _Gathered, gradient: Tensor) -> Tensor:
        return all_reduce_sum(gradient)


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: _Gathered, tensor: Tensor) -> Tensor:
        ctx.rows = tensor.shape[0]
        gathered = [torch.empty_like(tensor) for _ in range(world_size())]
        dist.all_gather(gathered, tensor.contiguous())
        return torch.cat(gathered)

    @staticmethod
    def backward(ctx: _Gathered, gradient: Tensor) -> Tensor:
        start = rank() * ctx.rows
        return all_reduce_sum(gradient)[start : start + ctx.rows]


def all_reduce_sum_with_gradient(tensor: Tensor) -> Tensor:
    """The sum over ranks; the gradient of every rank's use of it flows back to every rank's input."""
    return _AllReduceSum.apply(tensor) if is_distributed() else tensor


def all_gather_with_gradient(tensor: Tensor) -> Tensor:
    """(B, ...) of each rank joined to (R * B, ...) in rank order; B must be the same on all ranks."""
    return _AllGather.apply(tensor) if is_distributed() else tensor
