"""A checkpoint with a trained head, opened in its stock class with the processors in its folder."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from hfssl.checkpoints.adapter_files import AdapterFacts, adapter_at
from hfssl.checkpoints.locate import Checkpoint, config_of, loading
from hfssl.errors import ConfigError, require
from hfssl.models.stock_encoder import ready
from hfssl.predicting.answers import Answers, Arrays, Opening
from hfssl.predicting.heads import HEADS, Head
from hfssl.predicting.predict_config import PredictConfig
from hfssl.predicting.preprocessors import Preprocessor
from hfssl.run_dir import Json, JsonView, RunDir

_NEVER_USED = ("masked_spec_embed",)
_PADDING_IS_HEARD = 1e-4  # of the largest logit


class Described(NamedTuple):
    """What a checkpoint says of itself before its weights are read.

    base: the model that an adapter belongs to, else None; of_run: the settings of the run whose export this is, or nothing.
    """

    checkpoint: Checkpoint
    head: Head
    config: PretrainedConfig
    base: str | None
    of_run: JsonView


class Opened(NamedTuple):
    """model: in float32 and eval mode; samples: how rows are prepared; answers: how they are put into columns; pads: samples of
    unequal length may share a batch."""

    model: PreTrainedModel
    samples: Preprocessor
    answers: Answers
    pads: bool

    @torch.inference_mode()
    def outputs(self, pieces: list[Arrays]) -> list[Tensor]:
        """What the model says of each sample, float32 on the host."""
        device = self.model.device
        if len({sample_shapes(piece) for piece in pieces}) > 1:
            batch = self.samples.padded(pieces)
        else:
            batch = {name: torch.stack([torch.from_numpy(piece[name]) for piece in pieces]) for name in pieces[0]}
        output = self.model(**{name: tensor.to(device) for name, tensor in batch.items()})
        return self.answers.outputs(output, batch, pieces)


def sample_shapes(piece: Arrays) -> tuple[tuple[int, ...], ...]:
    return tuple(array.shape for array in piece.values())


def describe(checkpoint: Checkpoint) -> Described:
    """What this model answers, by its config only.

    Raises:
        ConfigError: there is no such checkpoint, or it has a head that answers nothing, or none.
    """
    name, of_run = checkpoint.location, _settings_of_run(checkpoint.location)
    config, base = config_of(checkpoint), None
    with loading(checkpoint.said):
        adapter = adapter_at(name)
        if adapter is not None and not _holds_base(name, adapter):
            from hfssl.predicting.adapted import adapted_config  # peft

            config, base = adapted_config(name, of_run.get("class_names"))
    architecture = (config.architectures or ["model whose config names no class"])[0]
    for head in HEADS:
        if head.has(config.model_type, architecture):
            return Described(checkpoint, head, config, base, of_run)
    raise ConfigError(
        f"--model {checkpoint.name} is a {architecture}, which has no head of a task: name a fine-tuned checkpoint of a class "
        "that ends in ForImageClassification, ForSequenceClassification, ForAudioClassification, ForTokenClassification, "
        "ForQuestionAnswering or ForCTC"
    )


def open_model(described: Described, config: PredictConfig, device: torch.device) -> Opened:
    """The model with its processors.

    Raises:
        ConfigError: it cannot be loaded, weights are missing, those of the head above all, or a setting does not fit it.
    """
    checkpoint = described.checkpoint
    with loading(checkpoint.said):
        processors = tuple(_processor(described, one) for one in described.head.processors)
        model, missing = _model(described)
    missing = [name for name in missing if not name.endswith(_NEVER_USED)]
    shown = ", ".join(missing[:3])
    require(
        not missing,
        f"--model {checkpoint.name} lacks trained weights ({shown}): its answers would be random; fine-tune it",
    )
    model.config.use_cache = False  # nothing is generated
    model = ready(model, device)
    samples, answers = described.head.open(Opening(model, processors, config, described.of_run))
    return _tried(Opened(model, samples, answers, pads=True))


def _settings_of_run(location: str) -> Json:
    """What a run that this is an export of was told, as far as its kind of answers goes."""
    run_dir = RunDir(Path(location).parent)
    is_there = Path(location).is_dir() and run_dir.is_run()
    return dict(run_dir.read_config().get("method") or {}) if is_there else {}


def _holds_base(name: str, adapter: AdapterFacts) -> bool:
    """Whether the weights that an adapter belongs to are in its folder, so that `from_pretrained` loads both."""
    return adapter.base == name and any(Path(name).glob("model*.safetensors"))


def _processor(described: Described, processor_class: Any) -> Any:
    try:
        return processor_class.from_pretrained(described.checkpoint.location)
    except (OSError, ValueError):
        if described.base is None:
            raise
        return processor_class.from_pretrained(described.base)


def _model(described: Described) -> tuple[PreTrainedModel, list[str]]:
    """(model, names of the tensors that no file has)."""
    auto_class, name = described.head.auto_class, described.checkpoint.location
    if described.base is not None:
        from hfssl.predicting.adapted import open_adapted_model  # peft

        return open_adapted_model(auto_class, name, described.config)
    model, info = auto_class.from_pretrained(
        name, config=described.config, dtype=torch.float32, output_loading_info=True
    )
    return model, sorted(info["missing_keys"])


def _tried(opened: Opened) -> Opened:
    """With `pads` as one short sample shows it, by itself and with a longer one."""
    pair = opened.samples.trial()
    if pair is None:
        return opened._replace(pads=False)
    alone, together = opened.outputs([pair[0]])[0], opened.outputs(list(pair))[0]
    tolerance = _PADDING_IS_HEARD * max(1.0, float(alone.abs().max()))
    return opened._replace(pads=bool((alone - together).abs().max() <= tolerance))
