"""What an adapter in a folder or on the Hub says of itself: read from `adapter_config.json`, without peft."""

from pathlib import Path
from typing import NamedTuple

from transformers.utils.peft_utils import find_adapter_config_file

from hfssl.checkpoints.model_files import settings_in

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
PREFIX = "base_model.model."  # of every name in the file of weights


class AdapterFacts(NamedTuple):
    """base: folder or Hub id of the model that it adapts; architecture: that model's class, None where it is not recorded;
    is_causal: whether it is a causal language model."""

    base: str
    architecture: str | None
    is_causal: bool


def adapter_at(name: str | Path) -> AdapterFacts | None:
    """The adapter in a folder or under a Hub id; None where there is none."""
    file = find_adapter_config_file(str(name))
    if file is None:
        return None
    content = settings_in(Path(file))
    is_whole = (Path(name) / "config.json").is_file()  # the base lies in the same folder, and comes first
    base = str(name) if is_whole else str(content["base_model_name_or_path"])
    architecture = (content.get("auto_mapping") or {}).get("base_model_class")
    return AdapterFacts(base, architecture, content.get("task_type") == "CAUSAL_LM")
