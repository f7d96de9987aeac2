"""Fine-tuning a speech encoder to tell classes of recordings apart: words, speakers, emotions."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from hfssl.config.fields import option
from hfssl.errors import require
from hfssl.tasks.columns import Columns
from hfssl.tasks.speech_settings import SpeechSettings


@dataclass(frozen=True, kw_only=True)
class AudioClassificationConfig(SpeechSettings):
    recipe: ClassVar[str] = "audio_classification"
    demo: ClassVar[str | None] = "demo:vowels"
    takes_class_folders: ClassVar[bool] = True
    loss_unit: ClassVar[str] = "nats per recording"

    layer_sum: bool | None = option(
        None,
        "the head reads a learned weighted sum of all layers, not the last one (default: yes, but not with lora without --merge)",
    )
    classifier_proj_size: int | None = option(None, "width of the head's projection (default: the checkpoint's)")

    @classmethod
    def fits(cls, columns: Columns) -> bool:
        return columns.holds == "recordings" and columns.has_classes

    def __post_init__(self) -> None:
        super().__post_init__()
        size = self.classifier_proj_size
        require(size is None or size > 0, f"classifier_proj_size must be above 0, got {size}")
        for name, value in (("layer_sum true", self.layer_sum), ("classifier_proj_size", size)):
            require(
                not (self.exports_adapter and value),
                f"{name} is no part of an adapter, which is loaded into the checkpoint's own architecture: add --merge",
            )

    def merged(self) -> Self | None:
        """With the head as it was trained, which only --merge would give a sum of layers to read."""
        found = super().merged()
        return found if found is None or self.merge else replace(found, layer_sum=self.sums_layers)

    @property
    def sums_layers(self) -> bool:
        """Whether the head reads all layers."""
        return (self.adaptation != "lora" or self.merge) if self.layer_sum is None else self.layer_sum
