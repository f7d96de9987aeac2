"""One vector an image out of `last_hidden_state`: the contract between training, export and evaluation.

N samples, T tokens, D width.
"""

from torch import Tensor
from transformers import PretrainedConfig

_WITH_CLASS_TOKEN = ("vit", "deit", "beit", "dinov2", "dinov2_with_registers", "vit_mae")


def pooling_of(config: PretrainedConfig) -> str:
    """What the config records as `hfssl_pooling`, else the class token of a plain transformer, else the mean."""
    recorded = config.to_dict().get("hfssl_pooling")
    if recorded is not None:
        return str(recorded)
    return "cls" if config.model_type in _WITH_CLASS_TOKEN else "mean"


def registers_of(config: PretrainedConfig) -> int:
    """How many register tokens stand between the class token and the patches (Darcet et al. 2024, arXiv 2309.16588)."""
    return int(config.to_dict().get("num_register_tokens", 0))


def pool(hidden: Tensor, pooling: str, num_registers: int = 0) -> Tensor:
    """(N, D) out of `last_hidden_state`, (N, T, D) tokens or (N, D, H, W) maps.

    `cls` is the first token, `mean` all tokens, `mean_patches` all but the first and the registers behind it; of maps it is
    always the mean over positions, `mean_positions`.
    """
    if hidden.ndim == 4:
        return hidden.mean(dim=(2, 3))
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "mean":
        return hidden.mean(dim=1)
    if pooling == "mean_patches":
        return hidden[:, 1 + num_registers :].mean(dim=1)
    raise ValueError(f"pooling must be cls, mean or mean_patches, got {pooling}")
