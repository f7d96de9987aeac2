"""From a row's content to what the model takes, one sample at a time, as transformers' pipelines do it.

T tokens or samples of a waveform; arrays are numpy's, since they travel from worker processes by the thousand.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from hfssl.data.audio import files as audio_files
from hfssl.data.audio.config import LEAST_SECONDS
from hfssl.data.images import files as image_files
from hfssl.data.source import StoredFile
from hfssl.errors import require
from hfssl.evaluation.pixels import processed
from hfssl.objective import Array, BadRowError
from hfssl.predicting.answers import Arrays
from hfssl.run_dir import Json

_LONGEST = 512  # tokens, where neither tokenizer nor model names a limit
_NO_LIMIT = 1_000_000  # what tokenizers call their limit where they have none is above
_SECONDS_OF_A_BATCH = 120.0


class Prepared(NamedTuple):
    """A row, ready for the model.

    pieces: its samples, the arrays of each without a batch dimension: one, or the windows of a long text.
    extra: what its prediction is made with, in addition to the model's output.
    """

    pieces: list[Arrays]
    extra: Any = None


class Preprocessor(ABC):
    """How rows of one kind are prepared.

    most_together: samples that may share a batch whatever the user says; most_numbers: of the first array of a batch, padding
    included.
    """

    is_light: ClassVar[bool] = False  # no work for processes of its own
    most_together: int | None = None
    most_numbers: int | None = None

    def __init__(self, processor: Any) -> None:
        self._processor = processor

    @abstractmethod
    def prepare(self, content: Any) -> Prepared:
        """Raises BadRowError."""

    def trial(self) -> tuple[Arrays, Arrays] | None:
        """A short and a long sample, on which the model shows whether it hears padding; None where nothing may be padded."""
        return None

    def padded(self, samples: list[Arrays]) -> dict[str, Tensor]:
        """Samples of unequal length as one batch."""
        columns = {name: [sample[name] for sample in samples] for name in samples[0]}
        batch = self._processor.pad(columns, padding=True, return_tensors="pt")
        return dict(batch)


class ImagePreprocessor(Preprocessor):
    def __init__(self, processor: Any, num_channels: int) -> None:
        super().__init__(processor)
        self._num_channels = num_channels

    def prepare(self, content: Any) -> Prepared:
        image = image_files.decode(_existing(content), self._num_channels)
        return Prepared([{"pixel_values": processed(self._processor, [image])[0].numpy()}])


class TextPreprocessor(Preprocessor):
    is_light: ClassVar[bool] = True

    def __init__(self, processor: Any, config: PretrainedConfig) -> None:
        super().__init__(processor)
        body = config.get_text_config()
        self.max_length = _limit(processor, body.to_dict())
        self._can_pad = processor.pad_token_id is not None and processor.pad_token_id == body.pad_token_id
        self.most_together = None if self._can_pad else 1  # a head at the last token would look for it in vain

    def prepare(self, content: Any) -> Prepared:
        encoded = self._processor(readable(content), truncation=True, max_length=self.max_length)
        if not len(encoded["input_ids"]):
            raise BadRowError("holds no token")
        return Prepared([{name: np.asarray(values) for name, values in encoded.items()}])

    def trial(self) -> tuple[Arrays, Arrays] | None:
        if not self._can_pad:
            return None
        short, long = (self.prepare(self.trial_content(text)).pieces[0] for text in ("one", "one " * 20))
        return short, long

    def trial_content(self, text: str) -> object:
        """What a row with this text holds."""
        return text


def placing(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """`tokenizer` itself. Raises ConfigError where it does not tell where its tokens stand in a text."""
    name = type(tokenizer).__name__
    require(
        tokenizer.is_fast, f"the tokenizer {name} does not say where its tokens stand in a text: a fast one is needed"
    )
    return tokenizer


def readable(content: object, what: str = "text") -> str:
    """The text of a row. Raises BadRowError where it is none, or empty; `what` it is in words."""
    if content is None or (isinstance(content, str) and not content.strip()):
        raise BadRowError(f"the {what} is empty")
    if not isinstance(content, str):
        raise BadRowError(f"holds no {what} but a {type(content).__name__}")
    try:
        content.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadRowError("is not UTF-8") from error
    return content


class RecordingPreprocessor(Preprocessor):
    def __init__(self, processor: Any) -> None:
        super().__init__(processor)
        self._rate = int(processor.sampling_rate)
        self.most_numbers = round(_SECONDS_OF_A_BATCH * self._rate)

    def prepare(self, content: Any) -> Prepared:
        audio = audio_files.decode(_existing(content), self._rate).numpy()
        if len(audio) < LEAST_SECONDS * self._rate:  # without a single frame, which padding would hide
            raise BadRowError(f"is shorter than {LEAST_SECONDS:g} s")
        return Prepared([self._extracted(audio)])

    def trial(self) -> tuple[Arrays, Arrays] | None:
        noise = np.random.default_rng(0).uniform(-0.5, 0.5, 2 * self._rate).astype(np.float32)
        short, long = self._extracted(noise[: self._rate]), self._extracted(noise)
        return (short, long) if "attention_mask" in short else None

    def _extracted(self, audio: Array) -> Arrays:
        extracted = self._processor(audio, sampling_rate=self._rate, return_tensors="np")
        return {name: values[0] for name, values in extracted.items()}


def _existing(content: StoredFile) -> StoredFile:
    if content["bytes"] is None and not Path(str(content["path"])).is_file():
        raise BadRowError("there is no such file")
    return content


def _limit(tokenizer: PreTrainedTokenizerBase, config: Json) -> int:
    """Tokens of a text that are read."""
    positions = config.get("max_position_embeddings", config.get("n_positions"))
    if tokenizer.model_max_length < _NO_LIMIT:
        return min(int(tokenizer.model_max_length), positions or _NO_LIMIT)
    return positions - 2 if positions else _LONGEST  # RoBERTa's positions start at 2
