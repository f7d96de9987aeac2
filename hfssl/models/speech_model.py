"""Stock heads of transformers on a speech encoder that reads waveforms: config, weights from a checkpoint, what is never used.

B recordings, T samples, F frames, W width of a hidden state.
"""

import copy
from collections.abc import Container, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.models.auto.auto_factory import _BaseAutoModelClass

from hfssl.checkpoints.locate import loading
from hfssl.checkpoints.weights import read_weights, take_weights
from hfssl.errors import ConfigError, one_line, require
from hfssl.models.lora import base_tensors
from hfssl.nn.frames import Count, num_frames
from hfssl.objective import Batch, LoadReport

_TRIAL_SAMPLES = 16_000
_MOST_TOGETHER = 1_920_000  # samples that go through a model at once while it is judged: two minutes at 16 kHz
_WITHOUT_MEANING = ("masked_spec_embed",)  # random in every checkpoint that was pretrained without it


def speech_config(
    model_config: PretrainedConfig, known: Container[type[PretrainedConfig]], spans: tuple[float, int], does: str
) -> PretrainedConfig:
    """A copy of the encoder's config for a head: no dropped layers, no strides on top, masks as `spans` says.

    Masks of features, unlike those of frames, are left away: the stock classes draw them without a key.

    Args:
        known: the mapping of transformers from configs to the classes with this head; does: what these do, for the error.

    Raises:
        ConfigError: there is no such class.
    """
    require(type(model_config) in known, f"transformers has no model that {does} on a {model_config.model_type}")
    config = copy.deepcopy(model_config)
    config.layerdrop, config.add_adapter = 0.0, False
    config.mask_time_prob, config.mask_time_length = spans
    config.apply_spec_augment, config.mask_feature_prob = spans[0] > 0, 0.0
    return config


def fresh_speech_model(auto_class: type[_BaseAutoModelClass], config: PretrainedConfig) -> PreTrainedModel:
    """Random weights in float32; parameters that no gradient reaches are frozen. Raises ConfigError where it cannot be built."""
    try:
        model = auto_class.from_config(config, dtype=torch.float32)
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ConfigError(f"a {config.model_type} with a head cannot be built: {one_line(error)}") from error
    for name in _unreached(model):
        model.get_parameter(name).requires_grad_(False)
    return model


def _unreached(model: PreTrainedModel) -> list[str]:
    """Parameters without a gradient after a pass on noise, which leaves all else as it was."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # alone: torch.manual_seed would reach the GPU too
        masks = {}
        if model.config.mask_time_prob > 0:
            masks["mask_time_indices"] = (
                torch.arange(frame_counts(model.config, _TRIAL_SAMPLES)).remainder(2)[None] == 0
            )
        was_training = model.training
        logits = model.eval()(torch.randn(1, _TRIAL_SAMPLES), **masks).logits
        model.train(was_training)
        (logits * torch.randn_like(logits)).sum().backward()
    names = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    model.zero_grad(set_to_none=True)
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)
    return names


def body_of(model: PreTrainedModel) -> PreTrainedModel:
    """The encoder inside a model with a head."""
    return getattr(model, model.base_model_prefix)


def load_body(model: PreTrainedModel, checkpoint: str) -> LoadReport:
    """Take the encoder of `checkpoint`; the head stays as it was initialised.

    Raises:
        ConfigError: it cannot be read, lacks weights of the encoder, or they do not fit.
    """
    said = f"--model {checkpoint}"
    with loading(said):
        config = AutoConfig.from_pretrained(checkpoint)
        config.add_adapter = False  # strides on top, trained by whoever fine-tunes
    stored = read_weights(said, AutoModel, checkpoint, config=config, dtype=torch.float32)
    own, prefix = base_tensors(model), f"{model.base_model_prefix}."
    needed = {name.removeprefix(prefix) for name in own if name.startswith(prefix)}
    missing = sorted(name for name in needed - stored.tensors.keys() if not name.endswith(_WITHOUT_MEANING))
    require(not missing, f"{said} lacks weights of the encoder ({', '.join(missing[:3])})")
    return take_weights(
        own, stored, source_of=lambda name: name.removeprefix(prefix) if name.startswith(prefix) else None
    )


class Convolutions(Protocol):
    """The part of a config that says how samples become frames."""

    @property
    def conv_kernel(self) -> Sequence[int] | None: ...

    @property
    def conv_stride(self) -> Sequence[int] | None: ...


def frame_counts(convolutions: Convolutions | PretrainedConfig, lengths: Count) -> Count:
    """Frames of so many samples, a number or an int64 tensor; at least 0."""
    kernels, strides = convolutions.conv_kernel, convolutions.conv_stride
    assert kernels is not None
    assert strides is not None
    found = num_frames(lengths, kernels, strides)
    return found.clamp(min=0) if isinstance(found, Tensor) else max(0, found)


def hears_padding(model_config: PretrainedConfig, attention_mask: bool) -> bool:
    """Whether the rest of a batch changes what the model makes of it: it is not told of padding, or its
    first convolution is normalised over all of time."""
    return not attention_mask or model_config.to_dict().get("feat_extract_norm", "layer") == "group"


def in_groups(batch: Batch, *, equal: bool) -> Iterator[tuple[Tensor, Batch]]:
    """(rows of a batch, (R,) int64, and their inputs, padded to the longest of them): rows of like length, or of one if `equal`.

    A group has at most _MOST_TOGETHER samples, padding included, unless a recording alone has more.
    """
    lengths = batch["lengths"].tolist()
    for group in _groups(lengths, equal):
        inputs = {name: tensor[group, : lengths[group[-1]]] for name, tensor in model_inputs(batch).items()}
        yield torch.tensor(group, device=batch["lengths"].device), inputs


def _groups(lengths: list[int], equal: bool) -> Iterator[list[int]]:
    group: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        is_full = lengths[row] * (len(group) + 1) > _MOST_TOGETHER
        if group and (is_full or (equal and lengths[row] != lengths[group[-1]])):
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def model_inputs(batch: Batch) -> Batch:
    """What a stock model takes of a batch."""
    names = ("input_values", "attention_mask", "mask_time_indices")
    return {name: batch[name] for name in names if name in batch}
