"""Projection and prediction heads as the papers have them, and prototypes. B rows, D width, K prototypes.

A linear layer in front of a BatchNorm has no bias: the norm takes it away again, so its true gradient is 0. BatchNorms see
the joined batch of all ranks.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from hfssl.nn.batch_norm import CrossRankBatchNorm
from hfssl.nn.precision import no_autocast, to_float32, unit_rows


def simclr_projection_head(width: int, hidden_width: int, output_width: int = 128) -> nn.Sequential:
    """(B, D) -> (B, output_width): W2 relu(W1 h) (Chen et al. 2020, sections 2.1 and 4.2), each layer with a BatchNorm
    as in the published implementation, where the last one has a scale and no shift. The paper's hidden width is D."""
    last = CrossRankBatchNorm(output_width)
    last.bias.requires_grad_(False)
    hidden = _hidden(width, hidden_width)
    return nn.Sequential(*hidden, nn.Linear(hidden_width, output_width, bias=False), last)


def moco_projection_head(width: int, hidden_width: int, output_width: int = 128) -> nn.Sequential:
    """(B, D) -> (B, output_width): two layers with a ReLU and without BatchNorm (Chen et al. 2020, "Improved baselines with
    momentum contrastive learning", section 3.1: hidden width 2048 on ResNet-50)."""
    return nn.Sequential(nn.Linear(width, hidden_width), nn.ReLU(), nn.Linear(hidden_width, output_width))


def byol_head(width: int, hidden_width: int = 4096, output_width: int = 256) -> nn.Sequential:
    """(B, D) -> (B, output_width): BYOL's projection and prediction head alike, with a BatchNorm in the hidden layer and
    none at the output (Grill et al. 2020, section 3.3)."""
    return nn.Sequential(*_hidden(width, hidden_width), nn.Linear(hidden_width, output_width, bias=False))


def swav_projection_head(width: int, hidden_width: int = 2048, output_width: int = 128) -> nn.Sequential:
    """(B, D) -> (B, output_width) unit rows for `Prototypes` (Caron et al. 2020, section 4 and appendix on the
    implementation): two layers, a BatchNorm in the hidden one."""
    return nn.Sequential(*_hidden(width, hidden_width), nn.Linear(hidden_width, output_width), UnitRows())


def dino_head(
    width: int,
    num_prototypes: int,
    *,
    hidden_width: int = 2048,
    bottleneck_width: int = 256,
    has_batch_norm: bool = False,
) -> nn.Sequential:
    """(B, D) -> (B, K) logits: three layers with GELU down to a bottleneck, l2 normalisation, and a weight-normed layer of
    gain 1 (Caron et al. 2021, section 3.2 and appendix C). Linear layers start at a truncated normal of variance 1 / fan-in,
    biases at 0: the published N(0, 0.02) at the published width of 2048, and no smaller a signal in narrower heads.
    The paper's heads of ViTs have no BatchNorm; `has_batch_norm` puts one behind both hidden layers.

    The last module is a `Prototypes`, whose gradient the paper drops in the first epoch.
    """
    modules: list[nn.Module] = []
    for size_in, size_out in ((width, hidden_width), (hidden_width, hidden_width)):
        modules.append(nn.Linear(size_in, size_out, bias=not has_batch_norm))
        modules += [CrossRankBatchNorm(size_out)] if has_batch_norm else []
        modules.append(nn.GELU())
    modules.append(nn.Linear(hidden_width, bottleneck_width))
    for layer in modules:
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=layer.in_features**-0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return nn.Sequential(*modules, UnitRows(), Prototypes(bottleneck_width, num_prototypes))


class UnitRows(nn.Module):
    """l2 normalisation of the last dimension, in float32 at least."""

    def forward(self, rows_BD: Tensor) -> Tensor:
        return unit_rows(rows_BD)


class Prototypes(nn.Module):
    """Cosines of unit rows with K directions; what is trained is `weight`, of which only the directions count.

    The weight is normalised inside the forward pass and never written. DINO's weight-normed layer of fixed gain is the same
    function with the same gradient (Salimans & Kingma 2016, equations 2 and 3). SwAV writes the normalised weight back
    before each forward; both have the same output, and a step by the gradient of either leads to the same directions up to
    the square of the learning rate, because the part along a prototype only changes its length. Nothing that is written
    outside the optimizer has to be kept equal between ranks, checkpoint, teacher and a skipped step.
    """

    def __init__(self, width: int, num_prototypes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_prototypes, width))
        nn.init.normal_(self.weight)
        with torch.no_grad():
            self.weight.copy_(normalize(self.weight, dim=1))

    def forward(self, rows_BD: Tensor) -> Tensor:
        with no_autocast(rows_BD):  # a temperature of 0.04 would make much of half precision's last digit
            return linear(to_float32(rows_BD), unit_rows(self.weight))


def _hidden(width: int, hidden_width: int) -> list[nn.Module]:
    return [nn.Linear(width, hidden_width, bias=False), CrossRankBatchNorm(hidden_width), nn.ReLU()]
