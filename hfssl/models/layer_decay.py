"""Learning rates that fall towards the input: layer-wise decay, for fine-tuning.

A layer's rate is `decay` times that of the layer above it (Clark et al. 2020, arXiv 2003.10555, appendix B; Bao et al. 2021,
arXiv 2106.08254, section 3.2).
"""

import re
from collections.abc import Iterable

from torch import nn

from hfssl.objective import ParamGroup, is_matrix

_LAYER = re.compile(r"(?:^|\.)(?:layer|layers|stages|blocks|h|block)\.(\d+)\.")


def decayed_groups(named: Iterable[tuple[str, nn.Parameter]], *, weight_decay: float, decay: float) -> list[ParamGroup]:
    """Optimizer groups of a model's trainable parameters, with `lr_scale` by depth; no weight decay on norms and biases.

    Args:
        named: all parameters in the model's order, from input to head.
    """
    parameters = list(named)
    depths = depths_of([name for name, _ in parameters])
    top = max(depths.values())
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in parameters:
        if parameter.requires_grad:
            depth = depths[name] if decay < 1 else top
            groups.setdefault((depth, is_matrix(parameter)), []).append(parameter)
    return [
        {"params": members, "weight_decay": weight_decay if decays else 0.0, "lr_scale": decay ** (top - depth)}
        for (depth, decays), members in groups.items()
    ]


def depths_of(names: list[str]) -> dict[str, int]:
    """Depth of each parameter of a model: 0 for what comes before its layers (embeddings, first convolutions), 1, 2, ... for
    layers (stages of a hierarchical model), the next for all that follows them."""
    numbered = {name: int(found.group(1)) + 1 for name in names if (found := _LAYER.search(name))}
    top = max(numbered.values(), default=0) + 1
    last = max((index for index, name in enumerate(names) if name in numbered), default=-1)
    return {name: numbered.get(name, 0 if index < last else top) for index, name in enumerate(names)}
