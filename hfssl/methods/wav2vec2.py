"""wav2vec 2.0: of hidden frames of speech, tell the true quantised one from others of the same utterance.

Baevski et al. 2020, "wav2vec 2.0: A framework for self-supervised learning of speech representations", arXiv 2006.11477,
sections 2 and 3, equations 1 to 4. Convolutions turn the waveform into frames; spans of them are hidden from a transformer,
whose output has to be nearest to the quantised true frame; a second term keeps all codes in use.

N utterances, T frames, S masked frames of the utterance with the most, K distractors, C width of a frame, W of a code.

The model is transformers' `Wav2Vec2ForPreTraining`; with the same spans, distractors and noise the loss is equal. Where we
differ from it and its example:
- spans lie inside the true length of each utterance, distractors are other masked frames of it, noise is keyed by it.
- quantiser and similarities run over masked frames alone; the quantiser's product is a contraction.
- the penalty on the convolutions' output and the scale of their gradient are those of the published implementation.
- no layerdrop: all parameters get a gradient at every step.

    accelerate launch recipes/wav2vec2.py --dataset path/to/recordings
"""

import copy
import math
from typing import Any, ClassVar, Literal, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining, Wav2Vec2Model

from hfssl.data.audio_config import AudioDataConfig
from hfssl.data.audio_spec import AudioSpec
from hfssl.data.source import Source
from hfssl.fields import ConfigError, one_line
from hfssl.methods.wav2vec2_config import Wav2Vec2PretrainingConfig
from hfssl.nn.gumbel import code_perplexity, gumbel_noise, quantised
from hfssl.nn.precision import no_autocast, unit_rows, wide
from hfssl.nn.scaled_gradient import scaled_gradient
from hfssl.nn.slots import IGNORED
from hfssl.nn.spans import distractors, frames_of, masked_frames
from hfssl.nn.stock_encoder import UNREADABLE
from hfssl.objective import Batch, Export, LoadReport, Objective, StepOutput

NUM_CODEBOOKS = 2
_FINE_TUNING_MASKS = (
    0.05  # transformers' own share: an export would hide as much as pretraining did when it is fine-tuned
)


class SpanDraw(NamedTuple):
    """Draws `masked` (N, S) int64 frames and `is_masked` (N, S) bool for utterances of so many samples."""

    config: Wav2Vec2PretrainingConfig

    def __call__(self, keys_N: Tensor, lengths_N: Tensor) -> dict[str, Tensor]:
        frames_N = frames_of(lengths_N, self.config.conv_kernel, self.config.conv_stride)
        index_NS, used_NS = masked_frames(keys_N, frames_N, self.config.mask_probability, self.config.mask_length)
        return {"masked": index_NS, "is_masked": used_NS}


def model_config_of(config: Wav2Vec2PretrainingConfig) -> Wav2Vec2Config:
    dropouts = ("hidden_dropout", "attention_dropout", "feat_proj_dropout", "feat_quantizer_dropout")
    return Wav2Vec2Config(
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        intermediate_size=config.intermediate_size or 4 * config.hidden_size,
        conv_dim=config.conv_dim,
        conv_kernel=config.conv_kernel,
        conv_stride=config.conv_stride,
        feat_extract_norm=config.feat_extract_norm,
        do_stable_layer_norm=config.feat_extract_norm == "layer",
        conv_bias=config.feat_extract_norm == "layer",
        num_codevectors_per_group=config.num_codevectors,
        num_codevector_groups=NUM_CODEBOOKS,
        codevector_dim=config.codevector_size,
        proj_codevector_dim=config.codevector_size,
        num_negatives=config.num_negatives,
        contrastive_logits_temperature=config.contrastive_temperature,
        diversity_loss_weight=config.diversity_weight,
        layerdrop=0.0,
        activation_dropout=0.0,
        final_dropout=0.0,
        mask_time_prob=config.mask_probability,
        mask_time_length=config.mask_length,
        **dict.fromkeys(dropouts, config.dropout),
    )


class Wav2Vec2(Objective):
    modality: ClassVar[Literal["text", "image", "audio"]] = "audio"
    paper: ClassVar[str] = "2006.11477"

    def __init__(self, config: Wav2Vec2PretrainingConfig, model: Wav2Vec2ForPreTraining, processor: Any) -> None:
        super().__init__()
        self.config = config
        self.model = model
        self._processor = processor

    @property
    def batch_coupled(self) -> bool:
        """The codes' mean distribution is that of a micro-batch."""
        return True

    @classmethod
    def data_spec(cls, config: Wav2Vec2PretrainingConfig, data: AudioDataConfig, source: Source) -> AudioSpec:
        return AudioSpec(data, crops=config.feat_extract_norm == "group", draw=SpanDraw(config))

    @classmethod
    def build(cls, config: Wav2Vec2PretrainingConfig, spec: AudioSpec, model_config: Any) -> Self:
        built = model_config_of(config) if model_config is None else without_layerdrop(model_config)
        return cls(config, Wav2Vec2ForPreTraining(built), spec.processor)

    def forward(self, batch: Batch, progress: float) -> StepOutput:
        config, used_NS, keys_N = self.config, batch["is_masked"], batch["window_keys"]
        quantizer = self.model.quantizer
        noise = None
        if self.training:
            noise = gumbel_noise(keys_N, used_NS.shape[1], quantizer.num_groups, quantizer.num_vars)
        others = distractors(keys_N, used_NS, config.num_negatives)
        found = contrast(self.model, batch, config, self._gumbel_temperature(progress), noise=noise, others=others)
        asked_NS = used_NS & (used_NS.sum(dim=1, keepdim=True) > 1)  # else there is nothing to tell the frame from
        count = asked_NS.sum()
        first = torch.zeros_like(asked_NS, dtype=torch.int64).masked_fill(~asked_NS, IGNORED)
        contrastive = cross_entropy(
            found.logits_NSK.flatten(0, 1), first.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        perplexity = code_perplexity(found.code_logits_NSGV, used_NS)
        num_codes = quantizer.num_groups * quantizer.num_vars
        diversity = (num_codes - perplexity) / num_codes
        loss_sum = contrastive + count * (
            config.diversity_weight * diversity + config.feature_penalty * found.mean_square
        )
        return StepOutput(loss_sum, count.to(loss_sum.dtype), self._metrics(found, asked_NS, perplexity))

    @torch.no_grad()
    def _metrics(self, found: "Contrast", asked_NS: Tensor, perplexity: Tensor) -> dict[str, Tensor]:
        best_NS = found.logits_NSK.argmax(dim=2) == 0
        right = (best_NS & asked_NS).sum() / asked_NS.sum().clamp(min=1)
        trivial = torch.full_like(perplexity.detach(), math.log(1 + self.config.num_negatives))
        return {
            "accuracy": right.float(),
            "code_perplexity": perplexity.detach(),
            "frame_mean_square": found.mean_square.detach(),
            "trivial_loss": trivial,
        }

    def _gumbel_temperature(self, progress: float) -> float:
        """Falls geometrically from the first to the last over its share of the run (section 4.2)."""
        config = self.config
        passed = min(1.0, progress / config.gumbel_fraction)
        return config.initial_gumbel_temperature * (
            (config.gumbel_temperature / config.initial_gumbel_temperature) ** passed
        )

    def features(self, batch: Batch) -> Tensor:
        """Mean of the last hidden state over the frames of each utterance; (N, D). Where the convolutions normalise over time
        each length goes through by itself, since padding would be heard."""
        values_NT, lengths_N = batch["input_values"], batch["lengths"]
        if "attention_mask" in batch:
            hidden = self.model.wav2vec2(values_NT, attention_mask=batch["attention_mask"]).last_hidden_state
            frames_N = frames_of(lengths_N, self.model.config.conv_kernel, self.model.config.conv_stride)
            seen_NT = torch.arange(hidden.shape[1], device=hidden.device) < frames_N[:, None]
            return (hidden * seen_NT[:, :, None]).sum(dim=1) / frames_N[:, None]
        pooled = values_NT.new_zeros(len(values_NT), self.model.config.hidden_size)
        for length in lengths_N.unique().tolist():
            same_N = lengths_N == length
            pooled[same_N] = self.model.wav2vec2(values_NT[same_N, :length]).last_hidden_state.mean(dim=1).to(pooled)
        return pooled

    def export(self) -> Export:
        whole = copy.deepcopy(self.model).eval()
        whole.config.hfssl_pooling = "mean"
        encoder_config = copy.deepcopy(whole.config)
        encoder_config.mask_time_prob = _FINE_TUNING_MASKS
        encoder = Wav2Vec2Model(encoder_config)
        encoder.load_state_dict(whole.wav2vec2.state_dict())
        return Export(encoder.eval(), self._processor, pretraining_model=whole)

    @torch.no_grad()
    def load_pretrained(self, checkpoint: str) -> LoadReport:
        stored, found = _stored_tensors(checkpoint)
        own = self.model.state_dict()
        loaded = sorted(name for name in own if name in stored)
        for name in loaded:
            if stored[name].shape != own[name].shape:
                shapes = f"{tuple(stored[name].shape)} in {checkpoint}, {tuple(own[name].shape)} here"
                raise ConfigError(f"--init_from {checkpoint}: {name} does not fit: {shapes}")
            own[name].copy_(stored[name])
        return LoadReport(loaded, sorted(own.keys() - stored.keys()), sorted(found - set(loaded)))

    def enable_gradient_checkpointing(self) -> None:
        self.model.gradient_checkpointing_enable()


def without_layerdrop(model_config: Any) -> Wav2Vec2Config:
    """A copy that drops no layers, masks frames when it is told to, and has two codebooks.

    Raises:
        ConfigError: it is no wav2vec 2.0.
    """
    if model_config.model_type != "wav2vec2":
        raise ConfigError(f"wav2vec2 builds on the config of a wav2vec2, got one of type {model_config.model_type}")
    config = copy.deepcopy(model_config)
    config.layerdrop, config.apply_spec_augment = 0.0, True
    return config


def _stored_tensors(checkpoint: str) -> tuple[dict[str, Tensor], set[str]]:
    """({name in a Wav2Vec2ForPreTraining: tensor}, all names found) of a checkpoint."""
    try:
        opened: Any = Wav2Vec2ForPreTraining.from_pretrained(checkpoint, output_loading_info=True)
    except UNREADABLE as error:
        raise ConfigError(f"--init_from {checkpoint} can not be loaded: {one_line(error)}") from error
    model, info = opened
    stored = {name: tensor for name, tensor in model.state_dict().items() if name not in info["missing_keys"]}
    return stored, stored.keys() | set(info["unexpected_keys"])


class Contrast(NamedTuple):
    """Of one micro-batch: logits_NSK of the true frame (first) and its distractors; code_logits_NSGV; mean_square of the frames."""

    logits_NSK: Tensor
    code_logits_NSGV: Tensor
    mean_square: Tensor


def contrast(
    model: Any, batch: Batch, config: Any, temperature: float, *, noise: Tensor | None, others: Tensor
) -> Contrast:
    """The forward pass of the paper over masked frames.

    Args:
        noise: (N, S, G, V) Gumbel draws, or None for the likeliest codes; others: (N, S, K) slots of the distractors.
    """
    backbone = model.wav2vec2
    frames = backbone.feature_extractor(batch["input_values"]).transpose(1, 2)
    frames = scaled_gradient(frames, config.conv_gradient_scale)
    mean_square = wide(frames).square().mean()
    hidden, normed_NTC = backbone.feature_projection(frames)
    index_NS, used_NS = batch["masked"], batch["is_masked"]
    hidden_NT = torch.zeros(hidden.shape[:2], dtype=torch.int64, device=hidden.device)
    hidden_NT = hidden_NT.scatter_add(1, index_NS, used_NS.to(torch.int64)).bool()
    hidden = torch.where(hidden_NT[:, :, None], backbone.masked_spec_embed.to(hidden.dtype), hidden)
    seen = None
    if "attention_mask" in batch:
        seen = backbone._get_feature_vector_attention_mask(hidden.shape[1], batch["attention_mask"], add_adapter=False)
    context = backbone.encoder(hidden, attention_mask=seen).last_hidden_state
    chosen = model.dropout_features(at_slots(normed_NTC, index_NS))
    codes = quantised(model.quantizer, chosen, noise, temperature)
    targets = unit_rows(model.project_q(codes.vectors_NSW))
    predicted = unit_rows(model.project_hid(at_slots(context, index_NS)))
    with no_autocast(predicted):
        similar_NSS = torch.matmul(predicted, targets.transpose(1, 2))
        true_NS1 = similar_NSS.diagonal(dim1=1, dim2=2)[:, :, None]
        false_NSK = similar_NSS.gather(2, others)
        numbers_NS = codes.codes_NSG[:, :, 0] * model.quantizer.num_vars + codes.codes_NSG[:, :, 1]
        theirs_NSK = numbers_NS[:, None].expand(-1, numbers_NS.shape[1], -1).gather(2, others)
        false_NSK = false_NSK.masked_fill(theirs_NSK == numbers_NS[:, :, None], -torch.inf)
        logits = torch.cat([true_NS1, false_NSK], dim=2) / config.contrastive_temperature
    return Contrast(logits, codes.logits_NSGV, mean_square)


def at_slots(frames_NTC: Tensor, index_NS: Tensor) -> Tensor:
    """The frames of these numbers; (N, S, C)."""
    return frames_NTC.gather(1, index_NS[:, :, None].expand(-1, -1, frames_NTC.shape[2]))
