"""What fine-tuning a speech encoder can be told, whatever its head."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from hfssl.config.fields import option
from hfssl.data.audio.config import LEAST_SECONDS, AudioDataConfig
from hfssl.errors import require
from hfssl.tasks.task_config import TaskConfig

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_OF_MASKS = ("mask_time_probability", "mask_time_length")
_CONVOLUTIONS = ("conv_kernel", "conv_stride")


@dataclass(frozen=True, kw_only=True)
class SpeechSettings(TaskConfig):
    """Base of the configs of tasks on recordings. None is settled by `adopt`, from the checkpoint."""

    modality: ClassVar[Literal["text", "image", "audio"]] = "audio"

    attention_mask: bool | None = option(
        None,
        "tell the model what is padding (default: as the checkpoint's feature extractor; without one, unless the first "
        "convolution has a group norm)",
    )
    freeze_convolutions: bool | None = option(
        None, "keep the convolutions before the transformer as they are (default: yes, unless trained from scratch)"
    )
    mask_time_probability: float | None = option(
        None, "share of the frames that spans hide while training, if they did not overlap (default: the checkpoint's)"
    )
    mask_time_length: int | None = option(None, "frames of such a span (default: the checkpoint's)")

    conv_kernel: tuple[int, ...] | None = option(None, "kernels of the convolutions, as the checkpoint has them")
    conv_stride: tuple[int, ...] | None = option(None, "their strides, as the checkpoint has them")

    def __post_init__(self) -> None:
        super().__post_init__()
        share, length = self.mask_time_probability, self.mask_time_length
        require(share is None or 0 <= share < 1, f"mask_time_probability must be in [0, 1), got {share}")
        require(length is None or length > 0, f"mask_time_length must be above 0, got {length}")

    @property
    def spans(self) -> tuple[float, int]:
        """(share of the frames, frames of a span) of SpecAugment, once the checkpoint is known."""
        if self.adaptation == "frozen":
            return 0.0, 1
        assert self.mask_time_probability is not None
        assert self.mask_time_length is not None
        return self.mask_time_probability, self.mask_time_length

    def without_effect(self) -> dict[str, str]:
        heard = f"in a task, whose rows are recordings from {LEAST_SECONDS:g} s up to --max_duration_seconds"
        found = super().without_effect() | dict.fromkeys(("batch_seconds", "min_duration_seconds"), heard)
        found |= dict.fromkeys(_CONVOLUTIONS, "with --model or --model_config, which decide it")
        if self.adaptation == "frozen":
            found |= dict.fromkeys(_OF_MASKS, "with --adaptation frozen, whose body sees each recording as it is")
        if self.adaptation != "full":
            found["freeze_convolutions"] = f"with --adaptation {self.adaptation}, which trains no convolution"
        return found

    def adopt(
        self, data: AudioDataConfig, model_config: "PretrainedConfig", given: frozenset[str]
    ) -> tuple[Self, AudioDataConfig]:
        """Masks and padding as the checkpoint has them, unless they were given."""
        described = model_config.to_dict()
        require(
            "conv_kernel" in described and "mask_time_prob" in described,
            f"a {model_config.model_type} is no encoder of waveforms like wav2vec 2.0, HuBERT or WavLM: name another checkpoint",
        )
        found: dict[str, Any] = {
            "attention_mask": _masks_padding(self.model, described),
            "freeze_convolutions": self.adaptation == "full" and self.model is not None,
        }
        if self.adaptation != "frozen":
            is_on = described.get("apply_spec_augment", True)
            found["mask_time_probability"] = described["mask_time_prob"] if is_on else 0.0
            found["mask_time_length"] = described["mask_time_length"]
        settled = {name: value for name, value in found.items() if getattr(self, name) is None}
        settled |= {name: tuple(described[name]) for name in _CONVOLUTIONS}
        return dataclasses.replace(self, **settled), data


def _masks_padding(checkpoint: str | None, described: dict[str, Any]) -> bool:
    """Whether a checkpoint's feature extractor says where it padded; without one, what its architecture is trained with."""
    from transformers import AutoFeatureExtractor

    if checkpoint is not None:
        try:
            return bool(AutoFeatureExtractor.from_pretrained(checkpoint).return_attention_mask)
        except (OSError, ValueError):
            pass
    return bool(described.get("feat_extract_norm", "layer") != "group")
