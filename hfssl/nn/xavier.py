"""Initialisation of transformers whose scale does not depend on their width."""

from typing import Any

import torch
from torch import nn


@torch.no_grad()
def initialise_linear(model: nn.Module) -> None:
    """Linear layers Xavier-uniform with zero biases (Glorot & Bengio 2010, equation 16), norms at the identity: as in the
    published code of ViT (Dosovitskiy et al. 2021) and in He et al. 2022, appendix A.1.

    transformers draws every weight from N(0, 0.02), which fits a width of about 768; at 96 the layers of a fresh model add
    hardly anything to its tokens, and all images look alike for hundreds of steps.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


@torch.no_grad()
def initialise_patches(projection: Any) -> None:
    """The convolution that embeds patches, as if it were the linear layer that it is."""
    nn.init.xavier_uniform_(projection.weight.view(projection.weight.shape[0], -1))
    nn.init.zeros_(projection.bias)
