"""The forward pass of wav2vec 2.0 over masked frames: how like the context of a frame is to its quantised self and to others.

N utterances, T frames, S masked frames of the utterance with the most, K distractors, C width of a frame, G codebooks of V
entries.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PretrainedConfig, Wav2Vec2ForPreTraining

from hfssl.methods.wav2vec2.gumbel import quantised
from hfssl.methods.wav2vec2.scaled_gradient import scaled_gradient
from hfssl.nn.frames import num_frames
from hfssl.nn.precision import no_autocast, to_float32, unit_rows
from hfssl.objective import Batch


class Contrast(NamedTuple):
    """Of one micro-batch, all of it in float32.

    logits_NSK: of the true frame (first) and its K distractors, -inf where one has the same codes.
    code_logits_NSGV: of the quantiser; targets_NSW: unit rows, what is to be found.
    mean_square_N: of the convolutions' output over an utterance's own frames.
    """

    logits_NSK: Tensor
    code_logits_NSGV: Tensor
    targets_NSW: Tensor
    mean_square_N: Tensor


def contrast(
    model: Wav2Vec2ForPreTraining,
    batch: Batch,
    *,
    temperature: float,
    conv_gradient_scale: float,
    gumbel_temperature: float,
    noise: Tensor | None,
    others: Tensor,
) -> Contrast:
    """Equations 1 to 3 up to the softmax, by the weights of a `Wav2Vec2ForPreTraining`.

    Args:
        temperature: of the cosines; noise: (N, S, G, V) Gumbel draws, or None for the likeliest codes.
        others: (N, S, K) slots of the distractors.
    """
    backbone = model.wav2vec2
    frames_NTC = scaled_gradient(backbone.feature_extractor(batch["input_values"]).transpose(1, 2), conv_gradient_scale)
    counts_N = frames_of_windows(model.config, batch["lengths"])
    hidden_NTC, normed_NTC = backbone.feature_projection(frames_NTC)
    index_NS, used_NS = batch["masked"], batch["is_masked"]
    masked_NT = _is_masked(index_NS, used_NS, hidden_NTC.shape[1])
    hidden_NTC = torch.where(masked_NT[:, :, None], backbone.masked_spec_embed.to(hidden_NTC.dtype), hidden_NTC)
    context_NTC = backbone.encoder(hidden_NTC, attention_mask=attention(batch, model.config)).last_hidden_state
    codes = quantised(
        model.quantizer, model.dropout_features(at_slots(normed_NTC, index_NS)), noise, gumbel_temperature
    )
    targets_NSW = unit_rows(model.project_q(codes.vectors_NSW))
    predicted_NSW = unit_rows(model.project_hid(at_slots(context_NTC, index_NS)))
    with no_autocast(predicted_NSW):
        similar_NSS = torch.matmul(predicted_NSW, targets_NSW.transpose(1, 2))
        true_NS1 = similar_NSS.diagonal(dim1=1, dim2=2)[:, :, None]
        false_NSK = similar_NSS.gather(2, others)
        false_NSK = false_NSK.masked_fill(same_codes(codes.codes_NSG, others), -torch.inf)
        logits_NSK = torch.cat([true_NS1, false_NSK], dim=2) / temperature
        squares_NT = to_float32(frames_NTC).square().mean(dim=2)
        own_NT = torch.arange(squares_NT.shape[1], device=squares_NT.device) < counts_N[:, None]
        mean_square_N = (squares_NT * own_NT).sum(dim=1) / counts_N.clamp(min=1)
    return Contrast(logits_NSK, codes.logits_NSGV, targets_NSW, mean_square_N)


def frames_of_windows(model_config: PretrainedConfig, lengths_N: Tensor) -> Tensor:
    """Frames of each utterance, padding left out; (N,) int64."""
    return num_frames(lengths_N, model_config.conv_kernel, model_config.conv_stride).clamp(min=0)


def attention(batch: Batch, model_config: PretrainedConfig) -> Tensor | None:
    """Which frames the transformer may look at, (N, T) bool; None where nothing is padded."""
    if "attention_mask" not in batch:
        return None
    counts_N = frames_of_windows(model_config, batch["lengths"])
    longest = num_frames(batch["input_values"].shape[1], model_config.conv_kernel, model_config.conv_stride)
    return torch.arange(longest, device=counts_N.device) < counts_N[:, None]


def at_slots(frames_NTC: Tensor, index_NS: Tensor) -> Tensor:
    """The frames of these numbers; (N, S, C)."""
    return frames_NTC.gather(1, index_NS[:, :, None].expand(-1, -1, frames_NTC.shape[2]))


def same_codes(codes_NSG: Tensor, others_NSK: Tensor) -> Tensor:
    """Whether a distractor has the codes of the frame itself; (N, S, K) bool."""
    same = torch.ones_like(others_NSK, dtype=torch.bool)
    for codes_NS in codes_NSG.unbind(dim=2):
        theirs_NSK = codes_NS[:, None].expand(-1, codes_NS.shape[1], -1).gather(2, others_NSK)
        same &= theirs_NSK == codes_NS[:, :, None]
    return same


def _is_masked(index_NS: Tensor, used_NS: Tensor, num_frames_in_all: int) -> Tensor:
    """(N, T) bool. Slots that are not used point at frame 0, which they leave as it is."""
    counts_NT = torch.zeros(len(index_NS), num_frames_in_all, dtype=torch.int64, device=index_NS.device)
    return counts_NT.scatter_add_(1, index_NS, used_NS.to(torch.int64)).bool()
