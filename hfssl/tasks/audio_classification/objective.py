"""Classes of recordings: a stock classifier of transformers on a speech encoder, all of it trained, its adapters, or its head.

B recordings, T samples, F frames, L hidden states (the projected frames and one of each layer), W their width, C classes.

The head projects a learned weighted sum of the hidden states, takes its mean over a recording's own frames and classifies that
(Yang et al. 2021, "SUPERB", arXiv 2105.01051, section 3). Up to the mean it is linear. So for a frozen body the mean of each
hidden state is computed once a recording, and the stock head gets it as a recording of a single frame: its logits are the same,
which is tried on noise before.
"""

import copy
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import (
    MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoModelForAudioClassification,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.auto.auto_factory import _BaseAutoModelClass

from hfssl.data.audio.config import AudioDataConfig
from hfssl.data.audio.whole_recordings import LabelledRecordings
from hfssl.data.head_inputs import HeadInputsPipeline, content_of
from hfssl.data.labels import balanced_weights, class_numbers
from hfssl.data.source import Source
from hfssl.errors import require
from hfssl.models.speech_model import body_of, in_groups, load_body, model_inputs, speech_config
from hfssl.objective import Array, Batch, Saves, StepOutput
from hfssl.tasks.audio_classification.config import AudioClassificationConfig
from hfssl.tasks.speech_task import SpecAugmentDraw, SpeechTask, fresh_task_model

_HEAD = ["projector", "classifier"]
_MOST_DEVIATION = 1e-4  # of logits from pooled frames, relative to the largest logit or 1


class AudioClassification(
    SpeechTask[AudioClassificationConfig, LabelledRecordings | HeadInputsPipeline[LabelledRecordings]]
):
    config: AudioClassificationConfig
    class_weights_C: Tensor
    auto_class: ClassVar[type[_BaseAutoModelClass]] = AutoModelForAudioClassification

    def __init__(
        self, config: AudioClassificationConfig, model: PreTrainedModel, processor: Saves, class_weights_C: Tensor
    ) -> None:
        super().__init__(config, model, processor)
        self.register_buffer("class_weights_C", class_weights_C)

    @classmethod
    def check_rows(cls, config: AudioClassificationConfig, source: Source) -> list[str]:
        class_numbers(source, config.class_names or ())
        return []

    @classmethod
    def data_pipeline(
        cls, config: AudioClassificationConfig, data: AudioDataConfig, source: Source | None
    ) -> LabelledRecordings | HeadInputsPipeline[LabelledRecordings]:
        assert config.class_names is not None, "found in the data before a run is opened"
        assert config.attention_mask is not None, "settled before a run is opened"
        names, masks = config.class_names, config.attention_mask
        if config.adaptation == "frozen" and source is not None:
            return _of_frozen(config, LabelledRecordings(data, names, attention_mask=masks))
        return LabelledRecordings(data, names, attention_mask=masks, draw=SpecAugmentDraw(config))

    @classmethod
    def build(
        cls,
        config: AudioClassificationConfig,
        pipeline: LabelledRecordings | HeadInputsPipeline[LabelledRecordings],
        model_config: PretrainedConfig | None,
    ) -> Self:
        weights_C = torch.ones(len(pipeline.class_names))
        if config.class_weights == "balanced":
            weights_C = torch.from_numpy(balanced_weights(pipeline.counts_C)).float()
        assert model_config is not None, "of --model or --model_config"
        return cls(config, _fresh(config, pipeline.class_names, model_config), pipeline.processor, weights_C)

    def forward(self, batch: Batch, progress: float) -> StepOutput:
        """Cross-entropy."""
        logits_BC, labels_B = self.logits(batch), batch["labels"]
        weights_B = self.class_weights_C[labels_B]
        smoothing = self.config.label_smoothing
        losses_B = cross_entropy(logits_BC, labels_B, label_smoothing=smoothing, reduction="none")
        right_B = logits_BC.detach().argmax(dim=1) == labels_B
        return StepOutput((losses_B * weights_B).sum(), weights_B.sum(), {"accuracy": right_B.float().mean()})

    def raw_logits(self, batch: Batch) -> Tensor:
        """(B, C)."""
        if "head_inputs" in batch:
            return logits_of_means(self.model, batch["head_inputs"])
        if body_of(self.model).training:
            whole: Tensor = self.model(**model_inputs(batch)).logits
            return whole
        groups = in_groups(batch, equal=self.hears_padding)
        return _joined([(rows, self.model(**inputs).logits) for rows, inputs in groups])

    def predictions(self, batch: Batch) -> list[tuple[Array, int]]:
        """(logits (C,) float32, number of the true class) of each recording."""
        logits_BC = self.logits(batch).float().cpu().numpy()
        return list(zip(logits_BC, batch["labels"].tolist(), strict=True))


class _Means(nn.Module):
    """Stands for the body: hidden states (B, L, 1, W) that are known already."""

    def __init__(self, means_BL1W: Tensor) -> None:
        super().__init__()
        self._means_BL1W = means_BL1W

    def forward(self, input_values: Tensor, **_: object) -> BaseModelOutput:
        states = self._means_BL1W.unbind(dim=1)
        return BaseModelOutput(last_hidden_state=states[-1], hidden_states=states)


def logits_of_means(model: PreTrainedModel, means_BL1W: Tensor) -> Tensor:
    """(B, C) by the head of a stock model, whose parameters get the gradient, from the means of its hidden states."""
    head = copy.copy(model)
    head._modules = dict(model._modules) | {model.base_model_prefix: _Means(means_BL1W)}
    logits: Tensor = head(means_BL1W).logits
    return logits


@torch.no_grad()
def hidden_means(model: PreTrainedModel, batch: Batch, hears_padding: bool) -> Tensor:
    """(B, L, 1, W): the mean over its own frames of each hidden state that the head reads; L is 1 if it reads the last only."""
    groups = in_groups(batch, equal=hears_padding)
    return _joined([(rows, _means(model, inputs)) for rows, inputs in groups])


def _means(model: PreTrainedModel, inputs: Batch) -> Tensor:
    body: Any = body_of(model)  # speech encoders know their frames of padding
    output = body(**inputs, output_hidden_states=True)
    states = output.hidden_states if model.config.use_weighted_layer_sum else [output.last_hidden_state]
    states_BLFW = torch.stack(list(states), dim=1)
    if "attention_mask" not in inputs:
        return states_BLFW.mean(dim=2, keepdim=True)
    own_BF = body._get_feature_vector_attention_mask(states_BLFW.shape[2], inputs["attention_mask"])
    counts_B = own_BF.sum(dim=1)[:, None, None, None]
    return (states_BLFW * own_BF[:, None, :, None]).sum(dim=2, keepdim=True) / counts_B


def _joined(parts: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Values of groups of rows, each with the numbers of its rows, in the order of the rows."""
    order = torch.cat([rows for rows, _ in parts])
    return torch.cat([values for _, values in parts])[order.argsort()]


def _fresh(
    config: AudioClassificationConfig, class_names: list[str], model_config: PretrainedConfig
) -> PreTrainedModel:
    """The stock classifier, random, frozen or adapted as asked for."""
    own = speech_config(model_config, MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING, config.spans, "classifies recordings")
    own.num_labels = len(class_names)
    own.id2label = dict(enumerate(class_names))
    own.label2id = {name: index for index, name in own.id2label.items()}
    own.use_weighted_layer_sum = config.sums_layers
    if config.classifier_proj_size is not None:
        own.classifier_proj_size = config.classifier_proj_size
    model = fresh_task_model(config, AutoModelForAudioClassification, own, _HEAD)
    if config.sums_layers:
        model.get_parameter("layer_weights").requires_grad_(True)  # which an adapter freezes; it is then merged
    return model


def _of_frozen(config: AudioClassificationConfig, whole: LabelledRecordings) -> HeadInputsPipeline[LabelledRecordings]:
    assert config.model is not None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = _fresh(config, whole.class_names, AutoConfig.from_pretrained(config.model))
    load_body(model, config.model)
    task = AudioClassification(config, model, whole.processor, torch.ones(len(whole.class_names))).to(device).eval()

    def encode(batch: Batch) -> Tensor:
        return hidden_means(task.model, batch, task.hears_padding)

    check_means(task, whole, device)
    about = f"{content_of(body_of(model))} {whole.processor.to_json_string()} {whole.data.longest_window}"
    return HeadInputsPipeline(whole, encode, device, f"{about} {config.sums_layers} {task.hears_padding}")


@torch.no_grad()
def check_means(task: AudioClassification, whole: LabelledRecordings, device: torch.device) -> None:
    """Raise ConfigError where the stock head makes other logits of pooled frames than of the frames themselves."""
    generator = torch.Generator().manual_seed(0)
    rate = whole.data.sampling_rate
    noise = [torch.randn(round(share * rate), generator=generator) for share in (0.4, 1.0)]
    examples = [(whole.normalised(audio), 0) for audio in noise]
    keys_B = torch.zeros(len(examples), dtype=torch.int64)
    batch = {name: tensor.to(device) for name, tensor in whole.collate(examples, keys_B).items()}
    expected = task.raw_logits(batch)
    found = logits_of_means(task.model, hidden_means(task.model, batch, task.hears_padding))
    deviation = float((expected - found).abs().max() / expected.abs().max().clamp(min=1.0))
    require(
        deviation <= _MOST_DEVIATION,
        f"--adaptation frozen: the head of {type(task.model).__name__} is not linear up to its mean over frames (logits from "
        f"pooled frames are {deviation:.1e} off): use --adaptation full or lora",
    )
