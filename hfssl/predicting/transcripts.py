"""Answers that are transcripts: what a recogniser with a CTC head hears in a recording.

F frames, V characters of the vocabulary with the blank.

The likeliest character of each frame, repeats and then blanks dropped (Graves et al. 2006, "Connectionist temporal
classification", ICML, section 3.2), as transformers' pipeline does it, over a recording's own frames.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import PretrainedConfig, PreTrainedTokenizerBase, SequenceFeatureExtractor

from hfssl.models.speech_model import frame_counts
from hfssl.predicting.answers import Answers, Arrays, Opening
from hfssl.predicting.preprocessors import Preprocessor, RecordingPreprocessor
from hfssl.run_dir import Json

_WAVEFORM = "input_values"


class Transcripts(Answers):
    def __init__(self, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
        self._config = config
        self._tokenizer = tokenizer

    @property
    def columns(self) -> list[str]:
        return ["text"]

    def outputs(self, output: Any, batch: Mapping[str, Tensor], pieces: list[Arrays]) -> list[Tensor]:
        """(F, V) each."""
        logits_BFV = output.logits.float().cpu()
        if not tells_frames(self._config):
            return list(logits_BFV)  # of one length, none of them padded
        counts = [frame_counts(self._config, len(piece[_WAVEFORM])) for piece in pieces]
        return [logits_FV[:count] for logits_FV, count in zip(logits_BFV, counts, strict=True)]

    def of(self, outputs: list[Tensor], extra: Any) -> Json:
        (logits_FV,) = outputs
        return {"text": self._tokenizer.decode(logits_FV.argmax(dim=1).tolist())}


class Speech(RecordingPreprocessor):
    """Recordings whose frames may be told from those of padding, or else share no batch unless they are equally long."""

    def __init__(self, extractor: SequenceFeatureExtractor, config: PretrainedConfig) -> None:
        super().__init__(extractor)
        self._tells_frames = tells_frames(config)

    def trial(self) -> tuple[Arrays, Arrays] | None:
        return super().trial() if self._tells_frames else None


def tells_frames(config: PretrainedConfig) -> bool:
    """Whether the config says how many frames a waveform has."""
    described = config.to_dict()
    return "conv_kernel" in described and "conv_stride" in described and not described.get("add_adapter", False)


def opened(opening: Opening) -> tuple[Preprocessor, Answers]:
    extractor, tokenizer = opening.processors
    config = opening.model.config
    return Speech(extractor, config), Transcripts(config, tokenizer)
