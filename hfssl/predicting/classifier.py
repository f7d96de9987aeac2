"""A checkpoint with a trained classification head, opened in its stock class with the processor that lies beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoModelForAudioClassification,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from hfssl.config import require
from hfssl.evaluation.features import Checkpoint
from hfssl.fields import ConfigError, one_line
from hfssl.nn.adapter_files import AdapterFacts, adapter_at
from hfssl.nn.stock_encoder import UNREADABLE
from hfssl.predicting.inputs import Kind
from hfssl.predicting.samples import Images, Recordings, Samples, Texts

_CLASSES: dict[Kind, tuple[Mapping[str, Any], Any, Any]] = {
    "images": (MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES, AutoModelForImageClassification, AutoImageProcessor),
    "texts": (MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES, AutoModelForSequenceClassification, AutoTokenizer),
    "recordings": (MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES, AutoModelForAudioClassification, AutoFeatureExtractor),
}
_NEVER_USED = ("masked_spec_embed",)
_PADDING_IS_HEARD = 1e-4  # of the largest logit


class Described(NamedTuple):
    """What a checkpoint says of itself before its weights are read; base: the model that an adapter belongs to, else None."""

    checkpoint: Checkpoint
    kind: Kind
    config: Any
    base: str | None


class Classifier(NamedTuple):
    """model: in float32 and eval mode; samples: how inputs are prepared; pads: those of unequal length may share a batch."""

    model: Any
    samples: Samples
    pads: bool

    @torch.inference_mode()
    def logits(self, samples: list[dict[str, Any]]) -> Tensor:
        """(B, L) float32 on the host."""
        device = self.model.device
        if len({sample_shapes(sample) for sample in samples}) > 1:
            batch = self.samples.padded(samples)
        else:
            batch = {name: torch.stack([torch.from_numpy(sample[name]) for sample in samples]) for name in samples[0]}
        output: Tensor = self.model(**{name: tensor.to(device) for name, tensor in batch.items()}).logits
        return output.float().cpu()


def sample_shapes(sample: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(array.shape for array in sample.values())


def describe(checkpoint: Checkpoint) -> Described:
    """What kind of classifier this is, by its config alone.

    Raises:
        ConfigError: there is no such checkpoint, or it has another head or none.
    """
    name = checkpoint.location
    try:
        adapter = adapter_at(name)
        if adapter is None or _holds_base(name, adapter):
            config, base = AutoConfig.from_pretrained(name), None
        else:
            from hfssl.predicting.adapted import adapted_config  # peft

            config, base = adapted_config(name)
    except UNREADABLE as error:
        raise ConfigError(f"--model {checkpoint.name} can not be loaded: {one_line(error)}") from error
    architecture = (config.architectures or ["model whose config names no class"])[0]
    for kind, (names, _, _) in _CLASSES.items():
        found = names.get(config.model_type, ())
        if architecture in ((found,) if isinstance(found, str) else found):
            return Described(checkpoint, kind, config, base)
    raise ConfigError(
        f"--model {checkpoint.name} is a {architecture}, which has no classification head: name a fine-tuned checkpoint of a "
        "class like ViTForImageClassification, BertForSequenceClassification or Wav2Vec2ForSequenceClassification"
    )


def open_classifier(described: Described, device: torch.device) -> Classifier:
    """The model with its processor.

    Raises:
        ConfigError: it can not be loaded, or weights are missing, those of the head above all.
    """
    checkpoint, kind, config, _ = described
    try:
        processor = _processor(described)
        model, missing = _model(described)
    except ConfigError:
        raise
    except UNREADABLE as error:
        raise ConfigError(f"--model {checkpoint.name} can not be loaded as a classifier: {one_line(error)}") from error
    missing = [name for name in missing if not name.endswith(_NEVER_USED)]
    shown = ", ".join(missing[:3])
    require(
        not missing,
        f"--model {checkpoint.name} lacks trained weights ({shown}): its answers would be random; fine-tune it",
    )
    model.config.use_cache = False  # nothing is generated
    if kind == "images":
        samples: Samples = Images(processor, int(config.to_dict().get("num_channels", 3)))
    else:
        samples = Texts(processor, model.config) if kind == "texts" else Recordings(processor)
    return _tried(Classifier(model.to(device).eval(), samples, pads=True))


def _holds_base(name: str, adapter: AdapterFacts) -> bool:
    """Whether the weights that an adapter belongs to lie beside it, so that `from_pretrained` loads both."""
    return adapter.base == name and any(Path(name).glob("model*.safetensors"))


def _processor(described: Described) -> Any:
    processor_class = _CLASSES[described.kind][2]
    try:
        return processor_class.from_pretrained(described.checkpoint.location)
    except (OSError, ValueError):
        if described.base is None:
            raise
        return processor_class.from_pretrained(described.base)


def _model(described: Described) -> tuple[Any, list[str]]:
    """(model, names of the tensors that no file has)."""
    auto_class, name = _CLASSES[described.kind][1], described.checkpoint.location
    if described.base is not None:
        from hfssl.predicting.adapted import open_adapted_classifier  # peft

        return open_adapted_classifier(auto_class, name, described.config)
    model, info = auto_class.from_pretrained(
        name, config=described.config, dtype=torch.float32, output_loading_info=True
    )
    return model, sorted(info["missing_keys"])


def _tried(classifier: Classifier) -> Classifier:
    """With `pads` as one short sample shows it, alone and beside a longer one."""
    pair = classifier.samples.trial()
    if pair is None:
        return classifier._replace(pads=False)
    alone, beside = classifier.logits([pair[0]])[0], classifier.logits(list(pair))[0]
    tolerance = _PADDING_IS_HEARD * max(1.0, float(alone.abs().max()))
    return classifier._replace(pads=bool((alone - beside).abs().max() <= tolerance))
