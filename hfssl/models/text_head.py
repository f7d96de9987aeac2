"""Stock text models with a fresh head on a pretrained body: built, loaded, and told apart.

The body ends with its last hidden state; whatever comes after, a pooler inside the stock body among it, is head.
"""

import copy
from collections.abc import Sequence

import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.auto.auto_factory import _BaseAutoModelClass

from hfssl.checkpoints.locate import loading
from hfssl.checkpoints.weights import StoredWeights, stored_weights, take_weights
from hfssl.errors import ConfigError, one_line, require
from hfssl.models.lora import base_tensors
from hfssl.models.pooler import POOLER, pooler_in
from hfssl.objective import LoadReport


def head_config(
    model_config: PretrainedConfig, tokenizer: PreTrainedTokenizerFast, class_names: Sequence[str] | None
) -> PretrainedConfig:
    """A copy of a transformers config for a head of these classes, or of one number, that pads as the tokenizer does."""
    config = copy.deepcopy(model_config)
    config.num_labels = 1 if class_names is None else len(class_names)
    if class_names is not None:
        config.id2label = dict(enumerate(class_names))
        config.label2id = {name: index for index, name in config.id2label.items()}
    config.get_text_config().pad_token_id = tokenizer.pad_token_id
    config.pad_token_id = tokenizer.pad_token_id
    if config.to_dict().get("hfssl_pooling") == "mean" and "classifier_pooling" in config.to_dict():
        config.classifier_pooling = (
            "mean"  # ModernBERT's head can read what was pretrained, in addition to the first token
        )
    return config


def fresh_model(auto_class: type[_BaseAutoModelClass], config: PretrainedConfig) -> PreTrainedModel:
    """A model with random weights, in float32.

    Raises:
        ConfigError: there is no such head on this architecture, or the config cannot be built.
    """
    require(
        auto_class._model_mapping is not None and type(config) in auto_class._model_mapping,
        f"transformers has no {auto_class.__name__.removeprefix('AutoModelFor')} head on a {config.model_type}: name another "
        "checkpoint",
    )
    try:
        return auto_class.from_config(config, dtype=torch.float32)
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ConfigError(f"a {config.model_type} cannot be built: {one_line(error)}") from error


def body_of(model: PreTrainedModel) -> PreTrainedModel:
    """The stock body inside a model with a head."""
    return getattr(model, model.base_model_prefix)


def head_names(model: PreTrainedModel) -> list[str]:
    """Names of the modules that are trained whole where the body is not."""
    prefix = model.base_model_prefix
    names = [name for name, child in model.named_children() if name != prefix and any(True for _ in child.parameters())]
    has_pooler = pooler_in(body_of(model)) is not None
    return [*names, *([f"{prefix}.{POOLER}"] if has_pooler else [])]


def freeze_body(model: PreTrainedModel) -> None:
    """No gradient for what comes before the last hidden state."""
    body_of(model).requires_grad_(False)
    for name in head_names(model):
        model.get_submodule(name).requires_grad_(True)


def load_into(model: PreTrainedModel, auto_class: type[_BaseAutoModelClass], checkpoint: str) -> LoadReport:
    """Take from `checkpoint` whatever the stock class finds in it; the layer of the labels only where these are the same.

    Raises:
        ConfigError: it cannot be read, or its tensors do not fit.
    """
    said = f"--model {checkpoint}"
    with loading(said):
        opened, info = auto_class.from_pretrained(
            checkpoint,
            config=copy.deepcopy(model.config),
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
        labels = type(model.config).from_pretrained(checkpoint).id2label
    stored = stored_weights(said, opened, info)
    prefix = f"{model.base_model_prefix}."
    mismatched = {name: shapes for name, *shapes in info["mismatched_keys"]}
    wrong = sorted(name for name in mismatched if name.startswith(prefix))
    require(not wrong, f"{said}: {wrong[:1]} does not fit: {[mismatched[name] for name in wrong[:1]]}")
    other_labels = set() if labels == model.config.id2label else _of_labels(model, stored, prefix)
    return take_weights(base_tensors(model), stored.without({*mismatched, *other_labels}), source_of=_stock_name)


def _stock_name(name: str) -> str:
    """Of a head that is saved whole with an adapter, which holds it twice."""
    return name.replace(".original_module", "").replace(".modules_to_save.default", "")


def _of_labels(model: PreTrainedModel, stored: StoredWeights, prefix: str) -> set[str]:
    """Names of tensors of the last layer, which has a row per label."""
    num_labels = model.config.num_labels
    return {
        name
        for name, tensor in stored.tensors.items()
        if not name.startswith(prefix) and tensor.ndim and len(tensor) == num_labels
    }
