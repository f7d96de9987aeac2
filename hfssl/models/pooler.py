"""Who has a pooler: a layer on top of the last hidden state that pretraining here never trains.

Some stock classes build one unless `add_pooling_layer=False` says otherwise (ViT, DeiT, BEiT, Swin, BERT, RoBERTa). Others
have none at all (DINOv2, ConvNeXt, GPT-2, wav2vec 2.0).
"""

import inspect
from collections.abc import Iterable
from typing import Any

import transformers
from torch import nn
from transformers import MODEL_MAPPING, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

OPTION = "add_pooling_layer"
POOLER = "pooler"


def without_pooler(model_class: type[nn.Module]) -> dict[str, bool]:
    """Further arguments of a stock class or of its `from_pretrained`, so that it builds no pooler."""
    return {OPTION: False} if OPTION in inspect.signature(model_class).parameters else {}


def without_pooler_of(config: PretrainedConfig) -> dict[str, bool]:
    """The same for the class that AutoModel builds from a config; nothing where AutoModel knows none."""
    found: Any = MODEL_MAPPING.get(type(config), None)
    return {} if found is None else without_pooler(found)


def without_pooler_of_type(model_type: str | None) -> dict[str, bool]:
    """The same by the `model_type` that a config.json names."""
    name = MODEL_MAPPING_NAMES.get(model_type or "")
    return without_pooler(getattr(transformers, name)) if isinstance(name, str) else {}


def pooler_in(body: nn.Module) -> nn.Module | None:
    """The pooler inside a stock body; None where it has none."""
    found = getattr(body, POOLER, None)
    return found if isinstance(found, nn.Module) else None


def untrained(missing: Iterable[str]) -> list[str]:
    """Of the names that a checkpoint lacks, in order, those that features are made with: none of a pooler."""
    return sorted(name for name in missing if POOLER not in name)
