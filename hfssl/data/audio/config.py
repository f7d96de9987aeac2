"""Audio data: where the recordings are, how they are cut into windows and how windows fill rows."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, Self

from hfssl.config.fields import option
from hfssl.config.sections import DataConfig
from hfssl.data.location_check import TABLE_SUFFIXES, check_location
from hfssl.errors import require

AUDIO_SUFFIXES = frozenset(  # of what libsndfile reads
    [
        ".wav",
        ".wave",
        ".flac",
        ".ogg",
        ".oga",
        ".opus",
        ".mp3",
        ".aif",
        ".aiff",
        ".aifc",
        ".au",
        ".snd",
        ".caf",
        ".w64",
        ".rf64",
    ]
)
DEMO_SETS = ("vowels",)
SPACE = "|"  # what stands for it in the vocabulary of a recogniser
LEAST_SECONDS = 0.1  # shorter than a syllable, and than what any encoder of speech makes a few frames of


class Hearing(Protocol):
    """The part of a feature extractor that says which waveforms a model takes."""

    sampling_rate: int
    do_normalize: bool


@dataclass(frozen=True, kw_only=True)
class AudioDataConfig(DataConfig):
    samples: ClassVar[str] = "recordings"
    suffixes: ClassVar[frozenset[str]] = AUDIO_SUFFIXES
    processor_class: ClassVar[str | None] = "AutoFeatureExtractor"

    audio_column: str | None = option(None, "column of the recordings (default: the only one of that type)")
    label_column: str | None = option(None, "column of the labels, for evaluation only", "own_rule", basic=True)
    sampling_rate: int = option(16_000, "samples per second of what the model hears; recordings are resampled to it")
    max_duration_seconds: float = option(
        15.6, "longest window; longer recordings are cut into several, differently each epoch", basic=True
    )
    min_duration_seconds: float = option(0.5, "shorter recordings are left out of training")
    batch_seconds: float = option(87.5, "audio of a row, padding included; batch sizes count rows")
    normalise: bool = option(True, "each window has zero mean and unit variance")
    cache: Literal["auto", "never"] = option("auto", "keep decoded recordings on disk where they fit", "may_change")

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.sampling_rate > 0, f"sampling_rate must be above 0, got {self.sampling_rate}")
        least, shortest, longest = LEAST_SECONDS, self.min_duration_seconds, self.max_duration_seconds
        require(shortest >= least, f"min_duration_seconds must be at least {least}, got {shortest}")
        require(
            shortest <= longest,
            f"min_duration_seconds {shortest} must not be above max_duration_seconds {longest}",
        )
        require(
            self.batch_seconds >= longest,
            f"batch_seconds must hold a window of max_duration_seconds {longest}, got {self.batch_seconds}",
        )

    @property
    def rows_are(self) -> str:
        return f"rows of up to {self.batch_seconds:g} s of recordings"

    def check(self) -> None:
        if self.dataset is not None:
            check_location(
                self.dataset,
                demo_sets=DEMO_SETS,
                samples=self.samples,
                suffixes=self.suffixes,
                one_file=TABLE_SUFFIXES,
            )

    def adopt_processor(self, processor: Hearing | None, given: frozenset[str]) -> Self:
        """Sampling rate and normalisation of the checkpoint's feature extractor, each unless it was given."""
        if processor is None:
            return self
        rate = self.sampling_rate if "sampling_rate" in given else processor.sampling_rate
        normalise = self.normalise if "normalise" in given else processor.do_normalize
        return dataclasses.replace(self, sampling_rate=rate, normalise=normalise)

    @property
    def longest_window(self) -> int:
        """Samples of a window at the most."""
        return round(self.max_duration_seconds * self.sampling_rate)

    @property
    def shortest_window(self) -> int:
        """Samples of a recording at the least."""
        return round(self.min_duration_seconds * self.sampling_rate)

    @property
    def row_capacity(self) -> int:
        """Samples of a row at the most, padding included."""
        return round(self.batch_seconds * self.sampling_rate)

    @classmethod
    def tiny(cls) -> Self:
        return cls(
            dataset="demo:vowels", max_duration_seconds=1.0, min_duration_seconds=0.5, batch_seconds=2.0, num_workers=0
        )
