"""An image encoder of transformers from its config: which class, what it takes, what of it is never used."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MODEL_MAPPING, AutoModel, PretrainedConfig, PreTrainedModel

from hfssl.errors import ConfigError, one_line
from hfssl.models.pooler import without_pooler_of
from hfssl.models.pooling import pool, registers_of

_TRIAL_IMAGES = 2


def encoder_class(config: PretrainedConfig, name: str = "this") -> type[PreTrainedModel]:
    """The class that AutoModel builds from `config`; `name` is what an error calls it.

    Raises:
        ConfigError: there is none, or it does not read images.
    """
    found: Any = MODEL_MAPPING.get(type(config), None)
    reads = "nothing that AutoModel knows" if found is None else found.main_input_name
    if reads != "pixel_values":
        raise ConfigError(f"{name} is a {config.model_type} model, which reads {reads}: name an image encoder")
    return found


def ready(model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """The model itself, on a device, in eval mode."""
    nn.Module.to(model, device)  # the stock class's own `to` hides its types
    return model.eval()


def options_for_other_sizes(config: PretrainedConfig) -> dict[str, bool]:
    """Further arguments of its forward pass: positions are interpolated to the image, where that has to be asked for."""
    taken = inspect.signature(encoder_class(config).forward).parameters
    return {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in taken else {}


def fresh_encoder(config: PretrainedConfig) -> PreTrainedModel:
    """The stock model, float32, randomly initialised, without a pooler.

    Raises:
        ConfigError: no image encoder, or the config cannot be built.
    """
    encoder_class(config)
    options = without_pooler_of(config)
    try:
        return AutoModel.from_config(config, dtype=torch.float32, **options)
    except (ValueError, RuntimeError, KeyError, TypeError, ZeroDivisionError) as error:
        raise ConfigError(f"a {config.model_type} model cannot be built from this config: {one_line(error)}") from error


@torch.no_grad()
def correct_initialisation(model: PreTrainedModel) -> None:
    """Draw what some stock classes leave at zero and their papers draw from N(0, 0.02), truncated: position embeddings and
    relative position biases (DeiT, MSN, Swin; Dosovitskiy et al. 2021, Touvron et al. 2021, Liu et al. 2021), class and
    register tokens. Equal rows of positions or registers could not be told apart by any gradient.
    """
    std = model.config.to_dict().get("initializer_range", 0.02)
    for name, parameter in model.named_parameters():
        is_meant = "position" in name or name.endswith(("_token", "_tokens"))
        if is_meant and parameter.requires_grad and not bool(parameter.any()):
            nn.init.trunc_normal_(parameter, std=std)


def trial(model: PreTrainedModel, pooling: str, image_size: int) -> tuple[Tensor, list[str]]:
    """One forward and backward pass on noise, which leaves parameters, buffers and the random state as they were.

    Returns:
        The last hidden state of two images, and the names of the parameters that get no gradient from pooled features:
        tokens for hidden patches, poolers, norms behind the last hidden state.

    Raises:
        ConfigError: the model does not take images of this size.
    """
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # alone: torch.manual_seed would reach the GPU too
        hidden = hidden_of_noise(model, image_size)
        pooled = pool(hidden, pooling, registers_of(model.config))
        (pooled * torch.randn_like(pooled)).sum().backward()
    dead = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    model.zero_grad(set_to_none=True)
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)
    return hidden.detach(), dead


def hidden_of_noise(model: PreTrainedModel, image_size: int) -> Tensor:
    """`last_hidden_state` of two noisy images of this size.

    Raises:
        ConfigError: the model does not take them.
    """
    parameter = next(model.parameters())
    noise = torch.randn(_TRIAL_IMAGES, model.config.num_channels, image_size, image_size).to(parameter)
    try:
        hidden: Tensor = model(pixel_values=noise, **options_for_other_sizes(model.config)).last_hidden_state
    except (ValueError, RuntimeError) as error:
        raise ConfigError(
            f"a {model.config.model_type} model of this config does not take images of {image_size} px: {one_line(error)}; "
            "choose another size"
        ) from error
    return hidden
