"""Recordings with transcripts: what speech recognition trains on.

B recordings, T samples, F frames, U characters.
"""

import json
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2Processor

from hfssl.data.audio.cache import Recording
from hfssl.data.audio.config import SPACE, AudioDataConfig
from hfssl.data.audio.pipeline import Draw, nothing
from hfssl.data.audio.whole_recordings import LongEnough, WholeRecordings
from hfssl.data.labels import refuse_missing
from hfssl.data.source import Source
from hfssl.distributed import is_main_process
from hfssl.errors import require
from hfssl.objective import Array, Batch

BLANK, UNKNOWN = "<pad>", "<unk>"
IGNORED = -100
_NAMED = 20


class Transcribed:
    """Recordings of some rows with their transcripts."""

    def __init__(self, recordings: LongEnough, texts: Sequence[str], rows_N: Array) -> None:
        self._recordings = recordings
        self._texts = texts
        self._rows_N = rows_N

    def __len__(self) -> int:
        return len(self._rows_N)

    def __getitem__(self, index: int) -> tuple[Recording, str]:
        """Raises BadRowError."""
        row = int(self._rows_N[index])
        return self._recordings[row], self._texts[row]


def transcripts_of(source: Source, *, keeps_case: bool) -> list[str]:
    """The transcript of each row, normalised.

    Raises:
        ConfigError: one is missing, or they are no texts.
    """
    refuse_missing(source, source.num_withheld(), "transcripts")
    labels, column = source.labels(), source.label_column
    assert labels is not None
    require(
        labels.dtype.kind == "U", f"the column {column} of the split {source.split} holds no transcripts but numbers"
    )
    return [normalised(text, keeps_case=keeps_case) for text in labels.tolist()]


def normalised(text: str, *, keeps_case: bool) -> str:
    """Composed characters (NFC), lower case unless it is kept, single spaces; the sign that stands for a space becomes one."""
    composed = unicodedata.normalize("NFC", text.replace(SPACE, " "))
    return " ".join((composed if keeps_case else composed.lower()).split())


def characters_of(texts: Sequence[str]) -> str:
    """All characters of these texts but the space, by code point.

    Raises:
        ConfigError: there are none.
    """
    characters = sorted({character for text in texts for character in text} - {" "})
    require(bool(characters), "all transcripts of the training rows are empty")
    return "".join(characters)


def unknown_characters(texts: Sequence[str], characters: str, split: str) -> list[str]:
    """A sentence that names those of a split which are not among `characters`, where there are any."""
    unknown = Counter(character for text in texts for character in set(text) - {*characters, " "})
    named = ", ".join(f"{character!r} ({count})" for character, count in unknown.most_common(_NAMED))
    return [f"characters of {split} that no training row has, with the rows that have them: {named}"] if unknown else []


def tokenizer_of(characters: str) -> Wav2Vec2CTCTokenizer:
    """A stock tokenizer: blank, unknown and space, then these characters in their order."""
    vocabulary = {token: number for number, token in enumerate([BLANK, UNKNOWN, SPACE, *characters])}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vocab.json"
        file.write_text(json.dumps(vocabulary), encoding="utf-8")
        return Wav2Vec2CTCTokenizer(
            str(file), bos_token=None, eos_token=None, unk_token=UNKNOWN, pad_token=BLANK, word_delimiter_token=SPACE
        )


def frames_needed(text: str) -> int:
    """Frames of the shortest path of a transcript: one a character, and a blank between two equal ones (Graves et al. 2006)."""
    return len(text) + sum(one == other for one, other in pairwise(text))


class TranscribedRecordings(WholeRecordings):
    """Recordings with `labels` (B, U) int64, numbers of characters, IGNORED behind the last one, and `characters` (B, U) int32,
    the code points of the transcripts, 0 behind the last one.

    Training leaves out recordings that are longer than a window, since a part of a transcript cannot be told, and those with
    fewer frames than their transcript needs. Without chance all are heard, and whole.
    """

    def __init__(
        self,
        data: AudioDataConfig,
        characters: str,
        *,
        keeps_case: bool,
        attention_mask: bool,
        num_frames: Callable[[Array], Array],
        draw: Draw = nothing,
    ) -> None:
        super().__init__(data, attention_mask=attention_mask, draw=draw)
        self._keeps_case = keeps_case
        self._num_frames = num_frames
        tokenizer = tokenizer_of(characters)
        self.processor: Wav2Vec2Processor = Wav2Vec2Processor(self.processor, tokenizer)
        self.numbers: dict[str, int] = {" ": tokenizer.encoder[SPACE]} | tokenizer.encoder

    def prepare(self, source: Source) -> Transcribed:  # type: ignore[override]
        """Raises ConfigError where no row is left."""
        texts = transcripts_of(source, keeps_case=self._keeps_case)
        cut = "they are not trained on, for it is not known which part of a transcript a window holds"
        recordings = self.opened(source, cut)
        lengths_N = np.asarray(recordings.lengths)
        is_usable_N = (lengths_N > 0) & (lengths_N <= self.data.longest_window)
        needed_N = np.array([frames_needed(text) for text in texts])
        is_told_N = self._num_frames(lengths_N) >= needed_N
        rows_N = np.flatnonzero(is_usable_N & is_told_N)
        if num_dense := int((is_usable_N & ~is_told_N).sum()):
            which = f"{num_dense} of {len(texts)} recordings of {source.split} have fewer frames than their transcripts need"
            self._say(f"{which}: they are not trained on")
        require(len(rows_N) > 0, f"no recording of {source.split} can be trained on: raise --max_duration_seconds")
        return Transcribed(recordings, texts, rows_N)

    def whole_examples(self, source: Source) -> Transcribed:  # type: ignore[override]
        """All rows."""
        texts = transcripts_of(source, keeps_case=self._keeps_case)
        return Transcribed(self.opened(source), texts, np.arange(len(texts)))

    def _say(self, sentence: str) -> None:
        if is_main_process():
            print(sentence, flush=True)

    def judged(self, recording: Recording) -> Tensor:
        return recording.piece(0, len(recording))

    def targets(self, labels: Sequence[str]) -> Batch:
        longest = max([1, *map(len, labels)])
        numbers_BU = torch.full((len(labels), longest), IGNORED)
        points_BU = torch.zeros(len(labels), longest, dtype=torch.int32)
        unknown = self.numbers[UNKNOWN]
        for row, text in enumerate(labels):
            numbers = [self.numbers.get(character, unknown) for character in text]
            numbers_BU[row, : len(text)] = torch.tensor(numbers, dtype=torch.int64)
            points_BU[row, : len(text)] = torch.tensor([ord(character) for character in text], dtype=torch.int32)
        return {"labels": numbers_BU, "characters": points_BU}
