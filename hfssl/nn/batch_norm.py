"""Batch normalisation over all ranks, or over splits of their batch, on CPU and GPU. B samples, C channels, S splits."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from hfssl.distributed import all_reduce_sum, all_reduce_sum_with_gradient, is_distributed, world_size
from hfssl.errors import BatchSizeError, ConfigError

_USUAL_MOMENTUM = 0.1  # torch's


class CrossRankBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm whose training moments are those of the joined batch of all ranks, with gradient.

    Ioffe & Szegedy 2015, algorithm 1. torch's SyncBatchNorm refuses CPU tensors; here [sum, count] and then the centred
    squares are all-reduced, so that two ranks of B samples equal one of 2B, whatever their share.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim not in (2, 3, 4):
            raise ValueError(f"expected (B, C), (B, C, L) or (B, C, H, W), got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and is_distributed()):
            return super().forward(input)
        self._check_input_dim(input)
        reduced = [0, *range(2, input.ndim)]
        shape = [1, -1, *[1] * (input.ndim - 2)]
        wide = input if input.dtype == torch.float64 else input.float()
        count = wide.new_full((1,), wide.numel() // wide.shape[1])
        joined = all_reduce_sum_with_gradient(torch.cat([wide.sum(reduced), count]))
        total = joined[-1].detach()
        mean_C = joined[:-1] / total
        centred = wide - mean_C.view(shape)
        variance_C = all_reduce_sum_with_gradient(centred.square().sum(reduced)) / total
        self._track(mean_C.detach(), variance_C.detach(), total)
        normalised = centred * torch.rsqrt(variance_C + self.eps).view(shape)
        if self.affine:
            normalised = normalised * self.weight.view(shape) + self.bias.view(shape)
        return normalised.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean_C: Tensor, variance_C: Tensor, total: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        factor = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean_C.to(self.running_mean), factor)
        self.running_var.lerp_((variance_C * total / (total - 1).clamp(min=1.0)).to(self.running_var), factor)


class SplitBatchNorm(CrossRankBatchNorm):
    """BatchNorm whose training moments are those of a split of the joined batch, as if each split lay on a device of its own
    (He et al. 2020, "Momentum contrast", section 3.3: 8 devices of 32).

    A rank holds its even share of the splits, consecutive samples each. Running moments are the mean over all splits.
    """

    num_splits: int = 1

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        num_own = self.num_splits // world_size()
        if self.num_splits % world_size() or len(input) % num_own:
            raise BatchSizeError(
                f"{self.num_splits} splits of a BatchNorm do not fit {len(input)} samples on each of {world_size()} "
                "process(es): the splits must be a multiple of the processes, and divide their samples evenly"
            )
        dtype = torch.float64 if input.dtype == torch.float64 else torch.float32
        means_SC = torch.zeros(num_own, self.num_features, dtype=dtype, device=input.device)
        variances_SC = torch.zeros_like(means_SC)
        splits = zip(input.chunk(num_own), means_SC, variances_SC, strict=True)
        normalised = [
            batch_norm(split, mean_C, variance_C, self.weight, self.bias, True, 1.0, self.eps)
            for split, mean_C, variance_C in splits
        ]
        self._track_splits(torch.stack([means_SC.mean(dim=0), variances_SC.mean(dim=0)]))
        return torch.cat(normalised)

    @torch.no_grad()
    def _track_splits(self, moments_2C: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        mean_C, variance_C = all_reduce_sum(moments_2C) / world_size()
        self.num_batches_tracked.add_(1)
        factor = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean_C.to(self.running_mean), factor)
        self.running_var.lerp_(variance_C.to(self.running_var), factor)


def across_ranks(module: nn.Module) -> nn.Module:
    """`module` with each stock BatchNorm inside replaced by a CrossRankBatchNorm that keeps its parameters and buffers.

    Running moments that take more than half of the newest batch take _USUAL_MOMENTUM of it: transformers' MobileNets and
    EfficientNets hand TensorFlow's decay of 0.997 to torch, where it is the share of the new, so that a model in eval mode
    would see the moments of its last training batch.
    """

    def config(norm: nn.modules.batchnorm._BatchNorm) -> nn.Module | None:
        return None if isinstance(norm, CrossRankBatchNorm) else _like(norm, CrossRankBatchNorm)

    return _replace(module, config)


def split_statistics(module: nn.Module, num_splits: int) -> nn.Module:
    """`module` with each BatchNorm inside replaced by a SplitBatchNorm that keeps its parameters and buffers.

    Args:
        num_splits: of the joined batch of all ranks.

    Raises:
        ConfigError: the splits cannot be shared out evenly, here or in the forward pass.
    """
    if num_splits < 1 or num_splits % world_size():
        raise ConfigError(
            f"splits of a BatchNorm must be a multiple of the {world_size()} process(es), got {num_splits}"
        )

    def config(norm: nn.modules.batchnorm._BatchNorm) -> nn.Module:
        replacement = _like(norm, SplitBatchNorm)
        replacement.num_splits = num_splits
        return replacement

    return _replace(module, config)


_Norm = TypeVar("_Norm", bound=nn.modules.batchnorm._BatchNorm)


def _like(norm: nn.modules.batchnorm._BatchNorm, kind: type[_Norm]) -> _Norm:
    momentum = norm.momentum if norm.momentum is None or norm.momentum <= 0.5 else _USUAL_MOMENTUM
    replacement = kind(norm.num_features, norm.eps, momentum, norm.affine, norm.track_running_stats)
    replacement.load_state_dict(norm.state_dict())
    for name, parameter in norm.named_parameters():
        replacement.get_parameter(name).requires_grad_(parameter.requires_grad)
    return replacement.train(norm.training)


def _replace(module: nn.Module, config: Callable[[nn.modules.batchnorm._BatchNorm], nn.Module | None]) -> nn.Module:
    """`module` with each BatchNorm inside exchanged for what `wanted` makes of it; None leaves it."""
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            replacement = config(child)
            if replacement is not None:
                setattr(module, name, replacement)
        else:
            _replace(child, config)
    return module
