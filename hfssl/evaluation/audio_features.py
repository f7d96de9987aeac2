"""Features of a speech checkpoint, loaded with plain `from_pretrained`: AutoModel, its extractor, vectors of a recording.

N recordings, L hidden states (the projected frames and one of each layer), T frames, D width.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    PretrainedConfig,
    PreTrainedModel,
)

from hfssl.checkpoints.locate import loading
from hfssl.errors import require
from hfssl.evaluation.clips import Clips
from hfssl.models.stock_encoder import ready
from hfssl.objective import Array

BATCH = 64
_MOST_SECONDS = 60.0  # of a batch, padding included


class AudioEncoder(NamedTuple):
    """A loaded checkpoint. hears_padding: it was trained without an attention mask, so that nothing may be padded."""

    model: PreTrainedModel
    processor: Any
    hears_padding: bool

    @property
    def sampling_rate(self) -> int:
        return int(self.processor.sampling_rate)


def open_audio_encoder(name: str | Path, device: torch.device) -> AudioEncoder:
    """The encoder of any checkpoint of transformers that reads waveforms, in eval mode.

    Raises:
        ConfigError: it cannot be loaded, or reads something else.
    """
    with loading(str(name)):
        config, processor = _config_and_processor(name)
        model, info = AutoModel.from_pretrained(name, config=config, output_loading_info=True)
    missing = sorted(key for key in info["missing_keys"] if "masked_spec_embed" not in key)
    require(
        not missing, f"{name} lacks weights of the encoder ({', '.join(missing[:3])}): its features would be random"
    )
    return _encoder(model, processor, device, str(name))


def untrained_audio_encoder(name: str | Path, seed: int, device: torch.device) -> AudioEncoder:
    """A model of the same configuration with fresh weights from `seed`."""
    config, processor = _config_and_processor(name)
    torch.manual_seed(seed)
    return _encoder(AutoModel.from_config(config), processor, device, str(name))


def _config_and_processor(name: str | Path) -> tuple[PretrainedConfig, Any]:
    config = AutoConfig.from_pretrained(name)
    config.add_adapter = False  # a head of strides, trained by whoever fine-tunes
    return config, AutoFeatureExtractor.from_pretrained(name)


def _encoder(model: PreTrainedModel, processor: Any, device: torch.device, name: str) -> AudioEncoder:
    require(
        hasattr(model, "_get_feat_extract_output_lengths"),
        f"{name} is a {model.config.model_type}, which reads spectrograms: name a speech encoder that reads waveforms",
    )
    return AudioEncoder(ready(model, device), processor, not processor.return_attention_mask)


def layer_features(encoder: AudioEncoder, clips: Clips, batch_size: int = BATCH) -> Array:
    """(N, L, D) float32: the mean of every hidden state over a recording's own frames; the last one is `last_hidden_state`."""
    features: Array | None = None
    for rows in _batches(clips.lengths, encoder, batch_size):
        pooled_NLD = _pooled(encoder, [clips[row] for row in rows]).cpu().numpy()
        if features is None:
            features = np.empty((len(clips), *pooled_NLD.shape[1:]), dtype=np.float32)
        features[rows] = pooled_NLD
    assert features is not None
    return features


def _batches(lengths_N: Array, encoder: AudioEncoder, batch_size: int) -> Iterator[list[int]]:
    """Rows of like length together; of equal length where padding is heard."""
    most = _MOST_SECONDS * encoder.sampling_rate
    rows: list[int] = []
    for row in np.argsort(lengths_N, kind="stable").tolist():
        length = int(lengths_N[row])
        is_full = len(rows) == batch_size or length * (len(rows) + 1) > most
        differs = bool(rows) and encoder.hears_padding and length != lengths_N[rows[0]]
        if rows and (is_full or differs):
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows


@torch.inference_mode()
def _pooled(encoder: AudioEncoder, audio: Sequence[Tensor]) -> Tensor:
    model: Any = encoder.model  # of a speech encoder, which counts its frames
    arrays = [part.numpy() for part in audio]
    inputs = encoder.processor(arrays, sampling_rate=encoder.sampling_rate, padding=True, return_tensors="pt")
    output = model(**inputs.to(model.device), output_hidden_states=True)
    counts_N = model._get_feat_extract_output_lengths(torch.tensor([len(part) for part in audio], device=model.device))
    hidden_LNTD = torch.stack([*output.hidden_states[:-1], output.last_hidden_state])
    own_NT = torch.arange(hidden_LNTD.shape[2], device=model.device) < counts_N[:, None]
    pooled_LND = (hidden_LNTD * own_NT[:, :, None]).sum(dim=2) / counts_N[:, None]
    return pooled_LND.transpose(0, 1).float()
