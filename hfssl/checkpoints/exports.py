"""Writes an Export as a folder that plain `from_pretrained` loads."""

import math
from pathlib import Path
from typing import NamedTuple

from safetensors.torch import save_file

from hfssl.checkpoints.adapter_files import WEIGHTS_FILE, adapter_at
from hfssl.checkpoints.model_files import settings_in, shapes_in
from hfssl.objective import Export, Saves
from hfssl.run_dir import Json, discard


def write_processor(processor: Saves, folder: Path) -> None:
    """A tokenizer, say, as from_pretrained reads it; the folder appears whole."""
    unfinished = folder.with_name(f".{folder.name}.tmp")
    discard(unfinished)
    processor.save_pretrained(unfinished)
    unfinished.rename(folder)


def write_export(export: Export, folder: Path) -> None:
    """Encoder (or adapter) and processor at the root, the full model in `pretraining/`, other heads in `heads.safetensors`.

    The folder appears whole: it is written to a temporary folder and renamed; an older one is replaced.
    """
    unfinished = folder.with_name(f".{folder.name}.tmp")
    discard(unfinished)
    unfinished.mkdir(parents=True)
    export.model.save_pretrained(unfinished)
    export.processor.save_pretrained(unfinished)
    if export.pretraining_model is not None:
        export.pretraining_model.save_pretrained(unfinished / "pretraining")
        export.processor.save_pretrained(unfinished / "pretraining")
    if export.heads:
        save_file(
            {name: tensor.contiguous() for name, tensor in export.heads.items()}, unfinished / "heads.safetensors"
        )
    discard(folder)
    unfinished.rename(folder)


_HEADS = {
    "ForImageClassification": "image-classification",
    "ForAudioClassification": "audio-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForCTC": "automatic-speech-recognition",
}


class Exported(NamedTuple):
    """An export in figures; pooling is None where its config does not record one.

    base: what an adapter belongs to, a folder or a Hub id, None for a whole model; architecture and task are then the base's,
    num_parameters the adapter's own, and model_type is not recorded.
    """

    architecture: str
    model_type: str | None
    pooling: str | None
    num_channels: int
    num_parameters: int
    base: str | None = None
    num_registers: int = 0
    sampling_rate: int | None = None  # of what a speech encoder hears

    @property
    def task(self) -> str:
        """The Hub's name for what the class at the root does."""
        if self.architecture.endswith("ForMaskedLM"):
            return "fill-mask"
        if (head := next((head for head in _HEADS if self.architecture.endswith(head)), None)) is not None:
            return _HEADS[head]
        if self.architecture.endswith("ForSequenceClassification"):  # the name that speech models have too
            return "text-classification" if self.sampling_rate is None else "audio-classification"
        if self.sampling_rate is not None:
            return "feature-extraction"
        is_causal = self.architecture.endswith(("ForCausalLM", "LMHeadModel"))
        return "text-generation" if is_causal else "image-feature-extraction"

    @property
    def size(self) -> str:
        """Architecture and number of parameters, in words."""
        size = f"{self.num_parameters / 1e6:.2f} M parameters"
        return (
            f"{self.architecture}, {size}"
            if self.base is None
            else f"LoRA adapter of {self.architecture}, {size} of its own"
        )


def describe_export(folder: Path) -> Exported | None:
    """What lies in an export, read without loading it; None where there is none yet."""
    if (folder / "config.json").is_file():
        config = settings_in(folder / "config.json")
        num_parameters = sum(map(_num_parameters, folder.glob("model*.safetensors")))
        channels = config.get("num_channels", 3)
        registers = config.get("num_register_tokens", 0)
        kind = (config.get("architectures") or ["model"])[0], config.get("model_type"), config.get("hfssl_pooling")
        rate = _processor_in(folder).get("sampling_rate")
        return Exported(*kind, channels, num_parameters, num_registers=registers, sampling_rate=rate)
    adapter = adapter_at(folder) if folder.is_dir() else None
    if adapter is None:
        return None
    settings = _processor_in(folder)
    channels, rate = len(settings.get("image_mean") or [0] * 3), settings.get("sampling_rate")
    size = _num_parameters(folder / WEIGHTS_FILE)
    return Exported(str(adapter.architecture), None, None, channels, size, adapter.base, sampling_rate=rate)


def _processor_in(folder: Path) -> Json:
    """The settings of an image processor or a feature extractor, also of one that is kept with its tokenizer; empty where
    there is none."""
    file, joint = folder / "preprocessor_config.json", folder / "processor_config.json"
    if file.is_file():
        return settings_in(file)
    content = settings_in(joint) if joint.is_file() else {}
    return dict(content.get("feature_extractor", {}))


def _num_parameters(file: Path) -> int:
    return sum(math.prod(shape) for shape in shapes_in(file).values())
