"""Heads: layers of the papers, every parameter with a true gradient, prototypes of which only directions count."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize
from torch.nn.utils.parametrizations import weight_norm

from hfssl.nn.batch_norm import CrossRankBatchNorm
from hfssl.nn.heads import (
    Prototypes,
    byol_head,
    dino_head,
    moco_projection_head,
    simclr_projection_head,
    swav_projection_head,
)

HEADS = {  # the head, its linear layers, its BatchNorms
    "simclr": (lambda: simclr_projection_head(6, 16, 5), 2, 2),
    "moco": (lambda: moco_projection_head(6, 16, 5), 2, 0),
    "byol": (lambda: byol_head(6, 16, 5), 2, 1),
    "swav": (lambda: swav_projection_head(6, 16, 5), 2, 1),
    "dino": (lambda: dino_head(6, 5, hidden_width=16, bottleneck_width=4), 3, 0),
    "dino with norms": (lambda: dino_head(6, 5, hidden_width=16, bottleneck_width=4, has_batch_norm=True), 3, 2),
}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", list(HEADS))
def test_layers_are_the_papers_and_every_trainable_parameter_has_a_true_gradient(name: str) -> None:
    build, num_linear, num_norms = HEADS[name]
    torch.manual_seed(0)
    head = build().double()
    assert sum(isinstance(module, nn.Linear) for module in head) == num_linear
    norms = [module for module in head if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert [type(norm) for norm in norms] == [CrossRankBatchNorm] * num_norms
    outputs = head(drawn(12, 6))
    assert outputs.shape == (12, 5)
    (outputs * drawn(12, 5, seed=1)).sum().backward()
    for parameter_name, parameter in head.named_parameters():
        if parameter.requires_grad:
            assert float(parameter.grad.norm()) > 1e-6, parameter_name


def test_linear_layers_of_dino_start_as_published_at_its_width_and_pass_the_signal_on_at_any() -> None:
    for width in (256, 2048):
        head = dino_head(width, 10, hidden_width=width, bottleneck_width=64)
        for module in head:
            if isinstance(module, nn.Linear):
                std = float(module.weight.detach().std())
                assert std == pytest.approx(width**-0.5, rel=0.1)
                assert width < 2048 or std == pytest.approx(0.02, rel=0.15)
                assert not bool(module.bias.any())


def test_outputs_of_swav_and_the_bottleneck_of_dino_have_unit_length() -> None:
    ones = torch.ones(8, dtype=torch.float64)
    swav = swav_projection_head(6, 16, 5).double()
    assert torch.allclose(swav(drawn(8, 6)).norm(dim=1), ones)
    dino = dino_head(6, 5, hidden_width=16, bottleneck_width=4).double()
    assert torch.allclose(dino[:-1](drawn(8, 6)).norm(dim=1), ones)


def test_prototypes_are_a_weight_normed_layer_of_gain_one() -> None:
    stock = weight_norm(nn.Linear(4, 5, bias=False).double(), dim=0)
    stock.parametrizations.weight.original0.requires_grad_(False).fill_(1.0)
    ours = Prototypes(4, 5).double()
    with torch.no_grad():
        ours.weight.copy_(stock.parametrizations.weight.original1)
    rows, weights = drawn(8, 4), drawn(8, 5, seed=1)
    for layer in (stock, ours):
        (layer(rows).tanh() * weights).sum().backward()
    assert torch.allclose(ours(rows), stock(rows))
    assert torch.allclose(ours.weight.grad, stock.parametrizations.weight.original1.grad)
    with torch.no_grad():
        before = ours(rows)
        ours.weight.mul_(3.0)
        assert torch.allclose(ours(rows), before)


def test_a_step_on_prototypes_turns_them_as_normalising_in_place_does() -> None:
    rows, weights, start = drawn(8, 4), drawn(8, 5, seed=1), normalize(drawn(5, 4, seed=2), dim=1)

    def directions(rate: float, in_place: bool) -> Tensor:
        weight = start.clone().requires_grad_(True)
        (linear(rows, weight if in_place else normalize(weight, dim=1)).tanh() * weights).sum().backward()
        return normalize(weight.detach() - rate * weight.grad, dim=1)

    def difference(rate: float) -> float:
        return float((directions(rate, True) - directions(rate, False)).norm())

    assert difference(1e-4) < 1e-3 * float((directions(1e-4, True) - start).norm())
    assert difference(1e-3) == pytest.approx(100 * difference(1e-4), rel=0.05)  # of second order


def test_prototypes_stay_float32_in_half_precision() -> None:
    ours = Prototypes(4, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ours(torch.ones(2, 4, dtype=torch.bfloat16)).dtype == torch.float32
    assert ours.weight.dtype == torch.float32
    assert torch.allclose(ours.weight.norm(dim=1), torch.ones(5))
