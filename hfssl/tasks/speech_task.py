"""What tasks on recordings share: a stock head on a speech encoder, keyed SpecAugment, padding that is heard or not.

B recordings, T samples, F frames.

SpecAugment hides spans of frames while training (Park et al. 2019, arXiv 1904.08779, section 2; on hidden frames: Baevski et al.
2020, arXiv 2006.11477, appendix B). The share of hidden frames is as often reached in short recordings as in long ones, where
transformers hides at least two spans of each. The convolutions stay as they were pretrained (there, section 4.3).

A model that hears padding, since it is not told of it or normalises over all of time, is trained on padded batches as
transformers recommends it, and judged without any padding, as its pipeline does: recordings of each length by themselves.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.models.auto.auto_factory import _BaseAutoModelClass

from hfssl.models.layer_decay import decayed_groups
from hfssl.models.lora import Adapter, merged, with_adapter
from hfssl.models.speech_model import body_of, frame_counts, fresh_speech_model, hears_padding, load_body
from hfssl.nn.batch_norm import across_ranks
from hfssl.nn.precision import to_float32
from hfssl.nn.spans import masked_frames
from hfssl.objective import Batch, Export, LoadReport, ParamGroup, Pipeline, Saves
from hfssl.tasks.speech_settings import SpeechSettings
from hfssl.tasks.task import Task


@dataclass(frozen=True)
class SpecAugmentDraw:
    """Draws `mask_time_indices` (B, F) bool for recordings of so many samples; nothing where the share is 0."""

    config: SpeechSettings

    def __call__(self, keys_B: Tensor, lengths_B: Tensor) -> dict[str, Tensor]:
        share, length = self.config.spans
        if not share:
            return {}
        frames_B = frame_counts(self.config, lengths_B)
        index_BS, used_BS = masked_frames(keys_B, frames_B, share, length, fewest=0)
        counts_BF = torch.zeros(len(keys_B), int(frames_B.max()), dtype=torch.int64)
        return {"mask_time_indices": counts_BF.scatter_add_(1, index_BS, used_BS.to(torch.int64)) > 0}


SpeechConfig = TypeVar("SpeechConfig", bound=SpeechSettings)


class SpeechTask(Task[SpeechConfig, Pipeline], Generic[SpeechConfig, Pipeline]):
    """Base of the tasks on recordings."""

    modality: ClassVar[Literal["text", "image", "audio"]] = "audio"

    def __init__(self, config: SpeechConfig, model: PreTrainedModel, processor: Saves) -> None:
        super().__init__()
        self.config = config
        self.model = model
        self._processor = processor
        assert config.attention_mask is not None
        self.hears_padding = hears_padding(model.config, config.attention_mask)

    @property
    def batch_coupled(self) -> bool:
        """A body that hears padding hears, while it trains, how long the others of its micro-batch are."""
        norms = (module for module in self.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
        is_heard = self.hears_padding and self.config.adaptation != "frozen"
        return is_heard or any(norm.training for norm in norms)

    def load_pretrained(self, checkpoint: str) -> LoadReport:
        return load_body(self.model, checkpoint)

    def train(self, mode: bool = True) -> Self:
        """What is frozen stays in eval mode: no dropout, no new moments of its norms."""
        super().train(mode)
        if self.config.adaptation == "frozen":
            body_of(self.model).eval()
        elif self.config.freeze_convolutions or self.config.adaptation == "lora":
            body_of(self.model).get_submodule("feature_extractor").eval()
        return self

    def logits(self, batch: Batch) -> Tensor:
        """(B, C) or (B, F, C) float32."""
        return to_float32(self.raw_logits(batch))

    @abstractmethod
    def raw_logits(self, batch: Batch) -> Tensor:
        """The same in the model's precision."""

    def export(self) -> Export:
        settings = self.config.lora_settings()
        model = Adapter(self.model) if settings.lora and not settings.merge else merged(self.model)
        return Export(model, self._processor)

    def param_groups(self, weight_decay: float) -> list[ParamGroup]:
        """By depth: the head on top, whatever stands first in the module, and a last norm over the layers with it."""
        prefix = f"{self.model.base_model_prefix}."
        last = f"{prefix}encoder.layer_norm." if self.model.config.to_dict().get("do_stable_layer_norm") else "nothing"

        def rank(name: str) -> int:
            return 2 if not name.startswith(prefix) else int(name.startswith(last))

        named = sorted(self.model.named_parameters(), key=lambda pair: rank(pair[0]))
        return decayed_groups(named, weight_decay=weight_decay, decay=self.config.rate_decay)


def fresh_task_model(
    config: SpeechSettings, auto_class: type[_BaseAutoModelClass], own: PretrainedConfig, head: list[str]
) -> PreTrainedModel:
    """The stock model of the config `own` with random weights, frozen and adapted as `config` says.

    Args:
        head: modules of the head, which an adapter saves too.

    Raises:
        ConfigError: it cannot be built.
    """
    model = fresh_speech_model(auto_class, own)
    across_ranks(model)
    if config.adaptation == "frozen":
        body_of(model).requires_grad_(False)
    elif config.freeze_convolutions:
        with_head: Any = model  # every stock head on a speech encoder can do this
        with_head.freeze_feature_encoder()
    if config.adaptation == "lora":
        model.name_or_path = config.model  # what the adapter records as its base
        with_adapter(model, config.lora_settings(), modules_to_save=head)
    return model
