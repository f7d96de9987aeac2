"""A model of a task that is kept as an adapter: LoRA matrices, a trained head, and the name of the model they belong to."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from peft import PeftConfig, PeftModel, get_peft_model_state_dict
from peft.utils.save_and_load import load_peft_weights
from transformers import (
    MODEL_FOR_QUESTION_ANSWERING_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoModelForCTC,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.auto_factory import _BaseAutoModelClass

from hfssl.checkpoints.adapter_files import PREFIX
from hfssl.errors import require
from hfssl.run_dir import Json

_OF_TASKS: Json = {
    "SEQ_CLS": MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    "TOKEN_CLS": MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    "QUESTION_ANS": MODEL_FOR_QUESTION_ANSWERING_MAPPING,
}  # peft's names of tasks


def adapted_config(name: str, class_names: Sequence[str] | None = None) -> tuple[PretrainedConfig, str]:
    """(config of the whole model, its base); the config is in the adapter's folder, or is the base's with the adapted class.

    Its number of labels may still be that of the base, unless `class_names` says what the head's are called.
    """
    peft_config = PeftConfig.from_pretrained(name)
    base = str(peft_config.base_model_name_or_path)
    if (Path(name) / "config.json").is_file():
        return AutoConfig.from_pretrained(name), base
    config = AutoConfig.from_pretrained(base)
    recorded = (peft_config.auto_mapping or {}).get("base_model_class")
    known = _OF_TASKS.get(str(peft_config.task_type), {}).get(type(config), None)
    if recorded is None and known is not None:
        recorded = known.__name__
    config.architectures = [recorded or f"adapter without a recorded class ({peft_config.task_type})"]
    if class_names is not None:
        config.id2label = dict(enumerate(class_names))
        config.label2id = {label: number for number, label in config.id2label.items()}
    return config, base


def open_adapted_model(
    auto_class: type[_BaseAutoModelClass], name: str, config: PretrainedConfig
) -> tuple[PreTrainedModel, list[str]]:
    """(stock model in float32 with the adapter merged in, names of the tensors that neither base nor adapter has).

    Raises:
        ConfigError: no LoRA, or it does not fit its base.
    """
    peft_config = PeftConfig.from_pretrained(name)
    require(
        peft_config.peft_type == "LORA", f"{name} is an adapter of the kind {peft_config.peft_type}: only LoRA is read"
    )
    base = str(peft_config.base_model_name_or_path)
    saved = load_peft_weights(name, device="cpu")
    config = _with_own_head(auto_class, config, {key: tensor.shape for key, tensor in saved.items()})
    model, info = auto_class.from_pretrained(
        base, config=config, dtype=torch.float32, ignore_mismatched_sizes=True, output_loading_info=True
    )
    untrained = {*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])}
    missing = sorted(key for key in untrained if f"{PREFIX}{key}" not in saved)
    if missing:
        return model, missing
    adapted = PeftModel.from_pretrained(model, name)
    embeddings: Literal["auto"] | bool = (
        "auto" if auto_class is not AutoModelForCTC else False
    )  # its vocabulary is its head's
    absent = sorted(set(get_peft_model_state_dict(adapted, save_embedding_layers=embeddings)) - set(saved))
    require(not absent, f"the adapter {name} lacks weights ({', '.join(absent[:3])}): it does not fit {base}")
    return adapted.merge_and_unload(), []


def _with_own_head(
    auto_class: type[_BaseAutoModelClass], config: PretrainedConfig, shapes: Mapping[str, tuple[int, ...]]
) -> PretrainedConfig:
    """`config` with as many labels, of CTC characters, as the head in the adapter's file; which tensor tells, two models without
    memory say."""
    counts = "vocab_size" if auto_class is AutoModelForCTC else "num_labels"
    other = copy.deepcopy(config)
    setattr(other, counts, getattr(config, counts) + 1)
    with torch.device("meta"):
        here, there = (auto_class.from_config(some).state_dict() for some in (config, other))
    counted = [key for key, tensor in here.items() if tensor.shape != there[key].shape and f"{PREFIX}{key}" in shapes]
    if counted and (own := int(shapes[f"{PREFIX}{counted[0]}"][0])) != getattr(config, counts):
        setattr(other, counts, own)
        return other
    return config
