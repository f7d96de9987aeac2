"""Stock image classifiers of transformers on a pretrained encoder: which class, its weights from a checkpoint, its head.

B images, W width of what the head reads, C classes.

A stock ViT classifier reads the class token, which a masked autoencoder never trains. Such an encoder becomes a BEiT with
absolute positions, which pools over patches and is the same function otherwise: BEiT's keys have no bias, and a bias of keys
cancels in the softmax. Its norm follows the mean where the encoder's came before it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    AutoModelForImageClassification,
    BeitConfig,
    PretrainedConfig,
    PreTrainedModel,
)

from hfssl.checkpoints.weights import take_weights
from hfssl.errors import ConfigError, one_line
from hfssl.models.backbone import encoder_config, encoder_weights, with_own_grid
from hfssl.models.lora import base_tensors
from hfssl.models.pooling import pooling_of
from hfssl.models.stock_encoder import correct_initialisation
from hfssl.objective import LoadReport

_HEADS = ("classifier", "head", "cls_classifier")
_WITHOUT_MEANING = "k_proj.bias"  # cancels in the softmax


def classifier_config(
    model_config: PretrainedConfig, class_names: Sequence[str], drop_path: float | None
) -> PretrainedConfig:
    """The config of a stock classifier of these classes on the encoder that `model_config` describes.

    Raises:
        ConfigError: there is no such class, or it drops no paths.
    """
    config = encoder_config(model_config)
    if config.model_type == "vit" and (pooling_of(config) == "mean_patches" or drop_path):
        config = _as_beit(config)
    if type(config) not in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        raise ConfigError(f"transformers has no image classifier on a {config.model_type}: name another checkpoint")
    config.num_labels = len(class_names)
    config.id2label = dict(enumerate(class_names))
    config.label2id = {name: index for index, name in config.id2label.items()}
    config.problem_type = "single_label_classification"
    if drop_path is not None:
        if "drop_path_rate" not in config.to_dict():
            raise ConfigError(f"--drop_path has no effect: a {config.model_type} drops no paths; leave it out")
        config.drop_path_rate = drop_path
    return config


def _as_beit(config: PretrainedConfig) -> BeitConfig:
    shared: tuple[str, ...] = (
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "hidden_act",
    )
    shared += ("hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range", "layer_norm_eps")
    shared += ("image_size", "patch_size", "num_channels")
    return BeitConfig(
        **{name: getattr(config, name) for name in shared},
        use_absolute_position_embeddings=True,
        use_relative_position_bias=False,
        use_shared_relative_position_bias=False,
        use_mask_token=False,
        use_mean_pooling=pooling_of(config) == "mean_patches",
        layer_scale_init_value=0.0,
        drop_path_rate=0.0,
    )


def fresh_classifier(config: PretrainedConfig, image_size: int) -> PreTrainedModel:
    """The stock class with random weights: positions drawn where it leaves them at zero, and what the logits of images of
    `image_size` do not depend on (tokens of hidden patches) frozen.

    Raises:
        ConfigError: the config cannot be built, or takes no such images.
    """
    try:
        model: PreTrainedModel = AutoModelForImageClassification.from_config(config, dtype=torch.float32)
        correct_initialisation(model)
        _freeze_what_is_dead(model, image_size)
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ConfigError(f"a {config.model_type} classifier cannot be built: {one_line(error)}") from error
    return model


def _freeze_what_is_dead(model: PreTrainedModel, image_size: int) -> None:
    """One pass on noise in eval mode, which changes no buffer and no random state."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        noise = torch.randn(2, model.config.num_channels, image_size, image_size)
        model.eval()(pixel_values=noise).logits.square().sum().backward()
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.grad is not None)
    model.zero_grad(set_to_none=True)
    model.train()


def head_name(model: PreTrainedModel) -> str:
    """The attribute that turns pooled features into logits."""
    return next(name for name in _HEADS if isinstance(getattr(model, name, None), nn.Module))


def body_of(model: PreTrainedModel) -> PreTrainedModel:
    """The encoder inside a classifier."""
    return getattr(model, model.base_model_prefix)


def load_body(model: PreTrainedModel, checkpoint: str, model_type: str) -> LoadReport:
    """Take the encoder of `checkpoint`, which is a `model_type`; the head stays as it was initialised.

    Raises:
        ConfigError: it is of another kind or its tensors do not fit.
    """
    stored = encoder_weights("--model", checkpoint, model_type)
    prefix = f"{model.base_model_prefix}."

    def source_of(name: str) -> str | None:
        """A ViT's last norm is the pooler's in the BEiT that it becomes."""
        if not name.startswith(prefix):
            return None
        inside = name.removeprefix(prefix)
        return inside if inside in stored.tensors else inside.removeprefix("pooler.")

    report = take_weights(base_tensors(model), stored, source_of=source_of, fitted=with_own_grid)
    return report._replace(unused=[name for name in report.unused if not name.endswith(_WITHOUT_MEANING)])


class HeadInputs(nn.Module):
    """(B, C, S, S) pixels -> (B, W) what the head of a stock classifier reads: the classifier itself, its head the identity."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        setattr(model, head_name(model), nn.Identity())

    def forward(self, pixel_values: Tensor) -> Tensor:
        inputs: Tensor = self.model(pixel_values=pixel_values).logits
        return inputs
