"""Fine-tuning a speech encoder to write down what is said, character by character (CTC)."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from hfssl.config.fields import option
from hfssl.data.audio.config import SPACE, AudioDataConfig
from hfssl.errors import require
from hfssl.tasks.columns import Columns
from hfssl.tasks.speech_settings import SpeechSettings
from hfssl.tasks.task_config import Adaptation

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_OF_CLASSES = ("class_weights", "label_smoothing", "class_names")
_NAMES = ("text", "sentence", "transcription", "transcript")


@dataclass(frozen=True, kw_only=True)
class SpeechRecognitionConfig(SpeechSettings):
    recipe: ClassVar[str] = "speech_recognition"
    loss_unit: ClassVar[str] = "nats per character"
    splits_by_class: ClassVar[bool] = False

    adaptation: Adaptation = option(  # noqa: RUF009
        "full",
        "full: every weight; frozen: only the head; the body still runs, for its frames are too many to keep; "
        "lora: adapters and the head",
    )
    keep_case: bool = option(False, "tell upper from lower case; else all transcripts are in lower case")
    characters: str | None = option(
        None, "characters that can be said, the space aside (default: those of the training rows' transcripts)"
    )

    @classmethod
    def fits(cls, columns: Columns) -> bool:
        return columns.holds == "recordings" and columns.has_texts and not columns.has_classes

    @property
    def output_type(self) -> Literal["transcripts"]:
        return "transcripts"

    def __post_init__(self) -> None:
        super().__post_init__()
        characters = self.characters
        if characters is None:
            return
        require(bool(characters), "characters must name at least one: leave it out for those of the training rows")
        require(len(set(characters)) == len(characters), f"characters must be named once each, got {characters!r}")
        unusable = [one for one in characters if one.isspace() or one == SPACE]
        require(not unusable, f"characters has {unusable[:1]}, which stands between words: leave it out")
        upper = [] if self.keep_case else [one for one in characters if one != one.lower()]
        require(not upper, f"characters has {upper[:1]}, but transcripts are in lower case: set --keep_case")

    def without_effect(self) -> dict[str, str]:
        return super().without_effect() | dict.fromkeys(_OF_CLASSES, "on transcripts, which are no classes")

    def adopt(
        self, data: AudioDataConfig, model_config: "PretrainedConfig", given: frozenset[str]
    ) -> tuple[Self, AudioDataConfig]:
        """Also the column of transcripts, where it was not named."""
        adopted, data = super().adopt(data, model_config, given)
        if data.label_column is not None:
            return adopted, data
        from hfssl.data.audio.source import open_recordings

        columns = open_recordings(data).all_rows.features
        found = [name for name in _NAMES if name in columns]
        several = ", ".join(found or columns)
        what = "several columns could be the transcripts" if found else "no column is named like transcripts"
        require(len(found) == 1, f"{what} ({several}): name theirs with --label_column")
        return adopted, dataclasses.replace(data, label_column=found[0])
