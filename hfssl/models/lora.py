"""Low-rank adapters in a stock model: a frozen linear layer W x becomes W x + alpha / rank * B A x, with B zero at first.

Hu et al. 2021, "LoRA: low-rank adaptation of large language models", arXiv 2106.09685, section 4.1, equation 3. The layers are
peft's, put into the model in place: its class, its `base_model` and its head stay what they were. Only peft's own functions
build, load and save adapters, since transformers' adapter methods ask for one version of peft. Rank and alpha are the user's;
A starts as peft draws it.
"""

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model_state_dict, inject_adapter_in_model
from peft.functional import cast_adapter_dtype
from peft.tuners.lora import LoraLayer
from peft.utils import ModulesToSaveWrapper
from peft.utils.save_and_load import load_peft_weights
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.auto.auto_factory import _BaseAutoModelClass
from transformers.pytorch_utils import Conv1D

from hfssl.checkpoints.adapter_files import PREFIX, WEIGHTS_FILE, adapter_at
from hfssl.errors import ConfigError, require
from hfssl.models.lora_settings import AUTO, LoraSettings

_ADAPTER = "default"  # peft's name for the only one
_BASE_LAYER = ".base_layer."


def with_adapter(
    model: PreTrainedModel, settings: LoraSettings, *, task_type: str | None = None, modules_to_save: Sequence[str] = ()
) -> PreTrainedModel:
    """`model` itself, frozen, with trainable float32 adapters in its chosen layers; it computes what it did before.

    Args:
        model: a transformers model; its `name_or_path` is recorded as what the adapter belongs to.
        task_type: peft's name of what the model does, where it has one.
        modules_to_save: modules that are trained whole and saved with the adapter: a fresh head.

    Raises:
        ConfigError: a name matches no layer, or there is no layer to adapt.
    """
    rank, alpha, targets, dropout = settings.settled
    names = [name for name in target_names(model, targets) if not _is_inside(name, modules_to_save)]
    config = LoraConfig(
        base_model_name_or_path=model.name_or_path,
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=_pattern(model, names),
        fan_in_fan_out=any(isinstance(model.get_submodule(name), Conv1D) for name in names),
        task_type=task_type,
        modules_to_save=list(modules_to_save) or None,
        auto_mapping={"base_model_class": type(model).__name__, "parent_library": type(model).__module__},
    )
    inject_adapter_in_model(config, model, _ADAPTER)
    cast_adapter_dtype(model, _ADAPTER)
    return model


def target_names(model: PreTrainedModel, targets: Sequence[str]) -> list[str]:
    """Names within `model` of the layers to adapt.

    `auto` is every Linear and Conv1D (GPT-2's) of `model.base_model`, so of nothing that a head adds to it. Else a layer of these
    is chosen by the end of its name: `query` or `attention.output.dense`.
    """
    of_body = set(model.base_model.modules())
    linear = [
        name for name, module in model.named_modules() if module in of_body and isinstance(module, (nn.Linear, Conv1D))
    ]
    require(
        bool(linear),
        f"--lora: the body of {type(model).__name__} has no linear layer to adapt; train it without --lora",
    )
    if tuple(targets) == (AUTO,):
        return linear
    for target in targets:
        if not any(_is_meant(name, target) for name in linear):
            existing = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in linear}))
            raise ConfigError(
                f"--lora_targets: {target} is no linear layer of the model's body; there are {existing}, or auto"
            )
    return [name for name in linear if any(_is_meant(name, target) for target in targets)]


def has_adapter(model: nn.Module) -> bool:
    """Whether any layer of `model` is adapted."""
    return any(isinstance(module, LoraLayer) for module in model.modules())


class Adapter:
    """The adapter of a model as it is now, apart from the model; `save_pretrained` writes it in peft's format."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.config = copy.deepcopy(model.peft_config[_ADAPTER])
        self.config.inference_mode = True
        # `with_adapter` never resizes embeddings, and peft would ask the base's config whether they were
        state = get_peft_model_state_dict(model, adapter_name=_ADAPTER, save_embedding_layers=False)
        self.tensors = {f"{PREFIX}{name}": tensor.detach().clone().contiguous() for name, tensor in state.items()}

    def save_pretrained(self, folder: str | Path) -> None:
        self.config.save_pretrained(str(folder))
        save_file(self.tensors, Path(folder) / WEIGHTS_FILE, metadata={"format": "pt"})


def merged(model: PreTrainedModel) -> PreTrainedModel:
    """A stock copy of `model`, in eval mode, with alpha / rank * B A of its adapters, where it has any, added to the weights."""
    whole = copy.deepcopy(model).eval()
    adapted = [(name, module) for name, module in whole.named_modules() if isinstance(module, LoraLayer)]
    for name, module in adapted:
        module.merge()
        whole.set_submodule(name, module.get_base_layer())
    for name, module in list(whole.named_modules()):
        if isinstance(module, ModulesToSaveWrapper):
            whole.set_submodule(name, module.modules_to_save[_ADAPTER])
    if adapted:
        del whole.peft_config
    return whole.requires_grad_(True)


def base_tensors(model: PreTrainedModel) -> dict[str, Tensor]:
    """The state of `model` without its adapters, under the stock model's names; shares storage with it."""
    state = model.state_dict()
    return {name.replace(_BASE_LAYER, "."): tensor for name, tensor in state.items() if ".lora_" not in name}


def open_adapted(auto_class: type[_BaseAutoModelClass], name: str) -> tuple[PreTrainedModel, dict[str, Any]]:
    """(model, loading info of its base) of a checkpoint; an adapter is put into its base, so that neither hides what it lacks.

    Raises:
        ConfigError: weights of the adapter are missing.
    """
    adapter = adapter_at(name)
    if adapter is None or adapter.base == name:
        model, info = auto_class.from_pretrained(name, output_loading_info=True)
        return model, info
    model, info = auto_class.from_pretrained(adapter.base, output_loading_info=True)
    adapted = PeftModel.from_pretrained(model, name)
    expected = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    missing = sorted(expected.keys() - load_peft_weights(name, device="cpu").keys())
    require(not missing, f"the adapter {name} lacks weights ({', '.join(missing[:3])}): it does not fit {adapter.base}")
    base = adapted.get_base_model()
    assert isinstance(base, PreTrainedModel)
    return base, info


def _is_inside(name: str, modules: Sequence[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def _is_meant(name: str, target: str) -> bool:
    return f".{name}".endswith(f".{target}")


def _pattern(model: PreTrainedModel, names: Sequence[str]) -> str:
    """A regular expression of whole names: with the layers' numbers left open where that means the same layers, else a list.

    Not peft's list of endings, which could mean a layer of a head too, in a model with another head.
    """
    exact = [re.escape(name) for name in names]
    open_numbers = "|".join(sorted({re.sub(r"\\\.\d+(?=\\\.)", r"\\.\\d+", name) for name in exact}))
    found = {name for name, _ in model.named_modules() if re.fullmatch(open_numbers, name)}
    return open_numbers if found == set(names) else "|".join(exact)
