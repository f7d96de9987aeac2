"""Batch normalisation over all ranks, on CPU and GPU. B samples, C channels."""

import torch
from torch import Tensor, nn

from hfssl.distributed import all_reduce_sum_with_gradient, is_distributed


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


def across_ranks(module: nn.Module) -> nn.Module:
    """`module` with each stock BatchNorm replaced by a CrossRankBatchNorm that keeps its parameters and buffers."""
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm) and not isinstance(child, CrossRankBatchNorm):
            replacement = CrossRankBatchNorm(
                child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats
            )
            replacement.load_state_dict(child.state_dict())
            setattr(module, name, replacement)
        else:
            across_ranks(child)
    return module
