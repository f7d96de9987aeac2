"""wav2vec 2.0: of hidden frames of speech, tell the true quantised one from others of the same utterance.

Baevski et al. 2020, "wav2vec 2.0: A framework for self-supervised learning of speech representations", arXiv 2006.11477,
sections 2 and 3, equations 1 to 4. Convolutions turn the waveform into frames; spans of them are hidden from a transformer,
whose output has to be nearest to the quantised true frame; a second term keeps all codes in use.

N utterances, T frames, S masked frames of the utterance with the most, K distractors, C width of a frame, W of a code.

The model is transformers' `Wav2Vec2ForPreTraining`; with the same spans, distractors and noise the loss is equal. Where we
differ from it and its example:
- spans lie inside the true length of each utterance, distractors are other masked frames of it, noise is keyed by it.
- quantiser and similarities run over masked frames only; the quantiser's product is a contraction.
- the penalty on the convolutions' output and the scale of their gradient are those of the published implementation; the
  penalty is the mean of each utterance, weighted by its masked frames, so that no batch of utterances counts differently.
- no layerdrop: all parameters get a gradient at every step.

    hfssl wav2vec2 --dataset path/to/recordings
"""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor
from transformers import PretrainedConfig, Wav2Vec2Config, Wav2Vec2ForPreTraining, Wav2Vec2Model

from hfssl.checkpoints.weights import read_weights, take_weights
from hfssl.data.audio.config import AudioDataConfig
from hfssl.data.audio.pipeline import AudioPipeline
from hfssl.data.source import Source
from hfssl.methods.wav2vec2.config import Wav2Vec2PretrainingConfig
from hfssl.methods.wav2vec2.contrast import Contrast, attention, contrast
from hfssl.methods.wav2vec2.gumbel import code_perplexity, gumbel_noise
from hfssl.nn.cross_entropy import summed_cross_entropy
from hfssl.nn.frames import num_frames
from hfssl.nn.masked_positions import IGNORED
from hfssl.nn.signals import embedding_std
from hfssl.nn.spans import distractors, masked_frames
from hfssl.objective import Batch, Diagnosis, Export, LoadReport, Objective, Pretext, Saves, StepOutput, ToldApart

POOLING = "mean"
_NUM_CODEBOOKS = 2
_FINE_TUNING_MASKS = 0.05  # transformers' own share: exports would else hide as much as pretraining when fine-tuned


@dataclass(frozen=True)
class SpanDraw:
    """Draws `masked` (N, S) int64 frames and `is_masked` (N, S) bool for utterances of so many samples."""

    config: Wav2Vec2PretrainingConfig

    def __call__(self, window_keys_N: Tensor, lengths_N: Tensor) -> dict[str, Tensor]:
        frames_N = num_frames(lengths_N, self.config.conv_kernel, self.config.conv_stride).clamp(min=0)
        share, span = self.config.mask_probability, self.config.mask_length
        index_NS, used_NS = masked_frames(window_keys_N, frames_N, share, span)
        return {"masked": index_NS, "is_masked": used_NS}


class Wav2Vec2(Objective[Wav2Vec2PretrainingConfig, AudioPipeline]):
    modality: ClassVar[Literal["text", "image", "audio"]] = "audio"

    def __init__(self, config: Wav2Vec2PretrainingConfig, model: Wav2Vec2ForPreTraining, processor: Saves) -> None:
        super().__init__()
        self.config = config
        self.model = model
        self._processor = processor

    @property
    def batch_coupled(self) -> bool:
        """The codes' mean distribution is that of a micro-batch."""
        return True

    @classmethod
    def data_pipeline(
        cls, config: Wav2Vec2PretrainingConfig, data: AudioDataConfig, source: Source | None
    ) -> AudioPipeline:
        return AudioPipeline(data, crops=config.feat_extract_norm == "group", draw=SpanDraw(config))

    @classmethod
    def build(
        cls, config: Wav2Vec2PretrainingConfig, pipeline: AudioPipeline, model_config: PretrainedConfig | None
    ) -> Self:
        return cls(config, Wav2Vec2ForPreTraining(_stock_config(config, model_config)), pipeline.processor)

    def forward(self, batch: Batch, progress: float) -> StepOutput:
        found = self._contrast(batch, progress)
        asked_NS = _asked(batch)
        count = asked_NS.sum()
        contrastive = summed_cross_entropy(
            found.logits_NSK.flatten(0, 1), _first(asked_NS).flatten(), ignore_index=IGNORED
        )
        quantizer = self.model.quantizer
        num_codes = quantizer.num_groups * quantizer.num_vars
        perplexity = code_perplexity(found.code_logits_NSGV, batch["is_masked"])
        diversity = self.config.diversity_weight * (num_codes - perplexity) / num_codes
        penalty_N = self.config.feature_penalty * found.mean_square_N
        penalties = count * diversity + (asked_NS.sum(dim=1) * penalty_N).sum()
        metrics = self._metrics(found, asked_NS, perplexity) | {
            "contrastive_loss": contrastive.detach() / count.clamp(min=1),
            "baseline_loss": math.log(1 + self.config.num_negatives) + penalties.detach() / count.clamp(min=1),
        }
        loss_sum = contrastive + penalties
        return StepOutput(loss_sum, count.to(loss_sum.dtype), metrics)

    def _contrast(self, batch: Batch, progress: float) -> Contrast:
        keys_N, used_NS, quantizer = batch["window_keys"], batch["is_masked"], self.model.quantizer
        noise = None
        if self.training:
            noise = gumbel_noise(keys_N, used_NS.shape[1], quantizer.num_groups, quantizer.num_vars)
        return contrast(
            self.model,
            batch,
            temperature=self.config.contrastive_temperature,
            conv_gradient_scale=self.config.conv_gradient_scale,
            gumbel_temperature=self._gumbel_temperature(progress),
            noise=noise,
            others=distractors(keys_N, used_NS, self.config.num_negatives),
        )

    @torch.no_grad()
    def _metrics(self, found: Contrast, asked_NS: Tensor, perplexity: Tensor) -> dict[str, Tensor]:
        num_codebooks, num_entries = found.code_logits_NSGV.shape[2:]
        return {
            "accuracy": (_is_right(found) & asked_NS).sum() / asked_NS.sum().clamp(min=1),
            "code_perplexity": perplexity.detach(),
            "code_entropy": (perplexity / num_codebooks).log().detach() / math.log(max(2, num_entries)),
            "target_std": embedding_std(found.targets_NSW.flatten(0, 1), asked_NS.flatten()),
        }

    def _gumbel_temperature(self, progress: float) -> float:
        """Falls geometrically from the first to the last over its share of the run (section 4.2)."""
        config = self.config
        passed = min(1.0, progress / config.gumbel_fraction)
        ratio = config.gumbel_temperature / config.initial_gumbel_temperature
        return config.initial_gumbel_temperature * ratio**passed

    def diagnoses(self) -> dict[str, Diagnosis]:
        reason = "the codebooks have collapsed: distractors are then the frame itself"
        codes = Diagnosis(
            reason, "raise --diversity_weight or --initial_gumbel_temperature, or lower --base_learning_rate"
        )
        hint = "look for silence, hum or padding in the recordings, or raise --mask_length and --feature_penalty"
        given = Diagnosis("frames give themselves away by something else than speech", hint)
        return {"few_codes": codes, "easy_frames": given, "no_loss": given}

    def features(self, batch: Batch) -> Tensor:
        """Mean of the last hidden state over an utterance's frames; (N, D). Where the convolutions normalise over time each
        length goes through by itself, since padding would be heard."""
        values_NT, lengths_N = batch["input_values"], batch["lengths"]
        if "attention_mask" in batch:
            hidden_NTD = self.model.wav2vec2(values_NT, attention_mask=batch["attention_mask"]).last_hidden_state
            own_NT = attention(batch, self.model.config)
            assert own_NT is not None
            return (hidden_NTD * own_NT[:, :, None]).sum(dim=1) / own_NT.sum(dim=1, keepdim=True)
        pooled_ND = values_NT.new_zeros(len(values_NT), self.model.config.hidden_size)
        for length in lengths_N.unique().tolist():
            same_N = lengths_N == length
            hidden_NTD = self.model.wav2vec2(values_NT[same_N, :length]).last_hidden_state
            pooled_ND[same_N] = hidden_NTD.mean(dim=1).to(pooled_ND)
        return pooled_ND

    @torch.no_grad()
    def pretext(self, batch: Batch) -> Pretext:
        """Share of an utterance's masked frames that are found among their distractors; chance is that of a guess among those
        with other codes."""
        found, asked_NS = self._contrast(batch, 1.0), _asked(batch)
        counts_N = asked_NS.sum(dim=1)
        candidates_NS = found.logits_NSK.isfinite().sum(dim=2)
        has_any_N = counts_N > 0
        right_N = (_is_right(found) & asked_NS).sum(dim=1)[has_any_N] / counts_N[has_any_N]
        chance_N = (asked_NS / candidates_NS).sum(dim=1)[has_any_N] / counts_N[has_any_N]
        return Pretext({"masked frames": right_N}, chance=float(chance_N.mean()) if len(chance_N) else 1.0)

    @torch.no_grad()
    def told_apart(self, batch: Batch) -> ToldApart:
        found = self._contrast(batch, 1.0)
        cosines_NSK = found.logits_NSK * self.config.contrastive_temperature
        frame = math.prod(self.model.config.conv_stride)
        return ToldApart(batch["masked"], _asked(batch), cosines_NSK[:, :, 0], cosines_NSK[:, :, 1:], frame)

    def remarks(self, row: Mapping[str, Any]) -> list[str]:
        """How many codes are in use."""
        perplexity = row.get("code_perplexity")
        if perplexity is None:
            return []
        groups, entries = self.model.config.num_codevector_groups, self.model.config.num_codevectors_per_group
        return [
            f"code perplexity {perplexity:.1f} of at most {groups * entries}; {groups} where the codebooks have collapsed"
        ]

    def export(self) -> Export:
        whole = copy.deepcopy(self.model).eval()
        whole.config.hfssl_pooling = POOLING
        encoder_config = copy.deepcopy(whole.config)
        encoder_config.mask_time_prob = _FINE_TUNING_MASKS
        encoder = Wav2Vec2Model(encoder_config)
        encoder.load_state_dict(whole.wav2vec2.state_dict())
        return Export(encoder.eval(), self._processor, pretraining_model=whole)

    def load_pretrained(self, checkpoint: str) -> LoadReport:
        said = f"--init_from {checkpoint}"
        stored = read_weights(said, Wav2Vec2ForPreTraining, checkpoint, dtype=torch.float32)
        return take_weights(self.model.state_dict(), stored)

    def enable_gradient_checkpointing(self) -> None:
        self.model.gradient_checkpointing_enable()


def _asked(batch: Batch) -> Tensor:
    """Masked frames that have another one to be told from; (N, S) bool."""
    used_NS = batch["is_masked"]
    return used_NS & (used_NS.sum(dim=1, keepdim=True) > 1)


def _first(asked_NS: Tensor) -> Tensor:
    """The right answers; (N, S) int64."""
    return torch.zeros_like(asked_NS, dtype=torch.int64).masked_fill(~asked_NS, IGNORED)


def _is_right(found: Contrast) -> Tensor:
    """(N, S) bool."""
    return found.logits_NSK.argmax(dim=2) == 0


def _stock_config(config: Wav2Vec2PretrainingConfig, model_config: PretrainedConfig | None) -> Wav2Vec2Config:
    """The model to build: that of the flags or of `model_config`, which drops no layers and has a token for masked frames."""
    if model_config is not None:
        built = copy.deepcopy(model_config)
        assert isinstance(built, Wav2Vec2Config)
        built.layerdrop, built.add_adapter = 0.0, False
        built.apply_spec_augment, built.mask_time_prob = True, max(built.mask_time_prob, _FINE_TUNING_MASKS)
        return built
    has_layer_norm = config.feat_extract_norm == "layer"
    dropouts = ("hidden_dropout", "attention_dropout", "feat_proj_dropout", "feat_quantizer_dropout")
    values: dict[str, Any] = dict.fromkeys(dropouts, config.dropout)
    values |= dict.fromkeys(("layerdrop", "activation_dropout", "final_dropout"), 0.0)
    values |= dict.fromkeys(("do_stable_layer_norm", "conv_bias"), has_layer_norm)
    values |= dict.fromkeys(("codevector_dim", "proj_codevector_dim"), config.codevector_size)
    return Wav2Vec2Config(
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        intermediate_size=config.intermediate_size or 4 * config.hidden_size,
        conv_dim=config.conv_dim,
        conv_kernel=config.conv_kernel,
        conv_stride=config.conv_stride,
        feat_extract_norm=config.feat_extract_norm,
        num_codevectors_per_group=config.num_codevectors,
        num_codevector_groups=_NUM_CODEBOOKS,
        num_negatives=config.num_negatives,
        contrastive_logits_temperature=config.contrastive_temperature,
        diversity_loss_weight=config.diversity_weight,
        mask_time_prob=config.mask_probability,
        mask_time_length=config.mask_length,
        **values,
    )
