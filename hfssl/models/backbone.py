"""Any vision encoder of transformers as a trainable module that gives one vector an image, and goes back to a stock one.

B images, C channels, S pixels a side, D width.
"""

import copy
import math
from typing import Self

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel, ViTConfig

from hfssl.checkpoints.locate import loading
from hfssl.checkpoints.weights import StoredWeights, read_weights, take_weights
from hfssl.errors import ConfigError
from hfssl.models.pooler import without_pooler_of
from hfssl.models.pooling import pool, pooling_of, registers_of
from hfssl.models.stock_encoder import (
    correct_initialisation,
    encoder_class,
    fresh_encoder,
    hidden_of_noise,
    options_for_other_sizes,
    trial,
)
from hfssl.nn.batch_norm import across_ranks
from hfssl.nn.positions import resize_positions
from hfssl.objective import LoadReport

_MAPS = "mean_positions"


class Backbone(nn.Module):
    """A stock encoder without pooler, its BatchNorms over all ranks, every trainable parameter reached by a gradient.

    model: the encoder; its config carries `hfssl_pooling`. width: D.
    """

    def __init__(self, model: PreTrainedModel, pooling: str, width: int) -> None:
        super().__init__()
        self.model = model
        self.pooling = pooling
        self.width = width
        self._options = options_for_other_sizes(model.config)

    @classmethod
    def build(
        cls, model_config: PretrainedConfig, *, image_size: int, num_channels: int, pooling: str | None = None
    ) -> Self:
        """A freshly initialised backbone.

        Args:
            model_config: of any image encoder; a ViTMAE's becomes that of the ViT it contains. It is copied.
            pooling: `cls`, `mean` or `mean_patches`; None is what the config records or its kind has. Feature maps are always
                averaged over positions.

        Raises:
            ConfigError: no image encoder, or one that does not take such images.
        """
        config = encoder_config(model_config)
        for name, value in (("image_size", image_size), ("num_channels", num_channels)):
            if name in config.to_dict():
                setattr(config, name, value)
        model = fresh_encoder(config)
        wanted = pooling or pooling_of(config)
        hidden, dead = trial(model.train(), wanted, image_size)
        for name in dead:
            model.get_parameter(name).requires_grad_(False)
        correct_initialisation(model)
        _check_class_token(model, wanted if hidden.ndim == 3 else "mean")
        config.hfssl_pooling = _pooling_for(hidden, wanted, config.model_type)
        across_ranks(model)
        return cls(model, config.hfssl_pooling, pool(hidden, wanted).shape[1])

    @property
    def has_batch_norm(self) -> bool:
        return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in self.modules())

    def forward(self, pixel_values_BCSS: Tensor) -> Tensor:
        """(B, D) pooled features; of another size than the config's, if `require_size` lets it pass."""
        if self.pooling == _MAPS:  # a depthwise convolution takes half of the time, of ResNets 0.9
            pixel_values_BCSS = pixel_values_BCSS.contiguous(memory_format=torch.channels_last)
        hidden = self.model(pixel_values=pixel_values_BCSS, **self._options).last_hidden_state
        return pool(hidden, self.pooling, registers_of(self.model.config))

    @torch.no_grad()
    def require_size(self, image_size: int) -> None:
        """Raise ConfigError unless images of this size can be taken, local crops for example."""
        was_training = self.model.training
        try:
            with torch.random.fork_rng(devices=[]):
                hidden_of_noise(self.model.eval(), image_size)
        finally:
            self.model.train(was_training)

    def export(self) -> PreTrainedModel:
        """A stock model of the same weights in eval mode that shares no storage; its config carries `hfssl_pooling`."""
        model = fresh_encoder(copy.deepcopy(self.model.config))
        model.load_state_dict(self.model.state_dict())  # strict: a CrossRankBatchNorm has a stock one's names
        return model.eval()

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass.

        Raises:
            ConfigError: the class does not support it.
        """
        if not self.model.supports_gradient_checkpointing:
            raise ConfigError(
                f"--gradient_checkpointing: a {self.model.config.model_type} does not support it: leave it out"
            )
        if self.has_batch_norm:
            raise ConfigError(
                "--gradient_checkpointing would count each batch twice in the BatchNorms of this backbone: leave it out"
            )
        self.model.gradient_checkpointing_enable()

    def load_pretrained(self, checkpoint: str) -> LoadReport:
        """Take the encoder's weights of `checkpoint` (Hub id or folder), positions resized to this image size.

        Raises:
            ConfigError: it is of another kind or its tensors do not fit.
        """
        stored = encoder_weights("--init_from", checkpoint, self.model.config.model_type)
        return take_weights(self.model.state_dict(), stored, fitted=with_own_grid)


def encoder_config(model_config: PretrainedConfig) -> PretrainedConfig:
    """A copy; of a ViTMAE's config the encoder's part, since ViTMAEModel hides patches even in eval mode."""
    if model_config.model_type != "vit_mae":
        return copy.deepcopy(model_config)
    names = (ViTConfig().to_dict().keys() | {"hfssl_pooling"}) - {"model_type", "architectures"}
    return ViTConfig(**{name: value for name, value in model_config.to_dict().items() if name in names})


def _check_class_token(model: PreTrainedModel, pooling: str) -> None:
    has_token = any(name.endswith("cls_token") for name, _ in model.named_parameters())
    if pooling in ("cls", "mean_patches") and not has_token:
        raise ConfigError(f"a {model.config.model_type} has no class token: pooling must be mean, got {pooling}")


def _pooling_for(hidden: Tensor, pooling: str, model_type: str) -> str:
    """`pooling` as the exported config records it."""
    if hidden.ndim == 3:
        return pooling
    if pooling not in ("mean", _MAPS):
        raise ConfigError(
            f"a {model_type} gives feature maps, which have no tokens: pooling must be mean, got {pooling}"
        )
    return _MAPS


def encoder_weights(flag: str, checkpoint: str, model_type: str) -> StoredWeights:
    """Those of an image encoder, by the encoder's own names.

    Raises:
        ConfigError: the checkpoint cannot be loaded, or is no `model_type`.
    """
    said = f"{flag} {checkpoint}"
    with loading(said):
        config = AutoConfig.from_pretrained(checkpoint)
        encoder_class(config)
    options = without_pooler_of(config)
    stored = read_weights(said, AutoModel, checkpoint, config=config, dtype=torch.float32, **options)
    if encoder_config(config).model_type != model_type:
        raise ConfigError(f"{said} is a {config.model_type}, the model to train a {model_type}")
    return stored


def with_own_grid(name: str, stored: Tensor, own: Tensor) -> Tensor:
    """Position embeddings brought to the own grid; everything else as it is."""
    is_grid = name.endswith("position_embeddings") and stored.ndim == 3 and stored.shape != own.shape
    return resize_positions(stored, math.isqrt(own.shape[1])) if is_grid else stored
