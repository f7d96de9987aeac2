"""What methods that train a vision backbone share: a stock encoder, its features, its export. B images, D width."""

from typing import ClassVar, Generic, Literal, Self, TypeVar

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, ViTImageProcessor

from hfssl.data.images.config import ImageDataConfig
from hfssl.data.images.views import ViewsPipeline
from hfssl.data.source import Source
from hfssl.methods.vision_backbone import build_backbone
from hfssl.methods.vision_settings import VisionConfig
from hfssl.models.backbone import Backbone
from hfssl.objective import Batch, Export, LoadReport, Objective

VisionSettings = TypeVar("VisionSettings", bound=VisionConfig)


class VisionObjective(Objective[VisionSettings, ViewsPipeline], Generic[VisionSettings]):
    """Backbone and heads on augmented crops; a subclass sets its heads, then writes `forward`.

    compares_samples: the loss of an image depends on the other images of its micro-batch.
    """

    modality: ClassVar[Literal["text", "image", "audio"]] = "image"
    compares_samples: ClassVar[bool] = False

    def __init__(self, config: VisionSettings, backbone: Backbone, processor: ViTImageProcessor) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self._processor = processor

    @property
    def batch_coupled(self) -> bool:
        norms = (module for module in self.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
        return self.compares_samples or any(norm.training for norm in norms)

    @classmethod
    def data_pipeline(cls, config: VisionSettings, data: ImageDataConfig, source: Source | None) -> ViewsPipeline:
        return ViewsPipeline(data, config.views(data.image_size))

    @classmethod
    def build(cls, config: VisionSettings, pipeline: ViewsPipeline, model_config: PretrainedConfig | None) -> Self:
        backbone = build_backbone(config, pipeline.data, model_config, pooling=config.pooling)
        return cls(config, backbone, pipeline.processor)

    @torch.no_grad()
    def load_pretrained(self, checkpoint: str) -> LoadReport:
        return self.backbone.load_pretrained(checkpoint)

    def features(self, batch: Batch) -> Tensor:
        """The backbone's pooled features, without any head; (B, D)."""
        features: Tensor = self.exported()(batch["pixel_values"])
        return features

    def export(self) -> Export:
        return Export(self.exported().export(), self._processor, heads=self._heads())

    def exported(self) -> Backbone:
        """The backbone that is exported."""
        return self.backbone

    def _heads(self) -> dict[str, Tensor]:
        """Everything but the student's backbone and the teacher, which `heads.safetensors` keeps."""
        kept = self.state_dict()
        return {
            name: tensor.detach().clone()
            for name, tensor in kept.items()
            if not name.startswith(("backbone.", "teacher."))
        }

    def enable_gradient_checkpointing(self) -> None:
        self.backbone.enable_gradient_checkpointing()

    def shown(self, pixel_values: Tensor) -> Tensor:
        """Normalised pixels (..., C, S, S) in [0, 1], as pictures have them; on the host."""
        mean, std = (
            torch.tensor(part).view(-1, 1, 1).to(pixel_values)
            for part in (self._processor.image_mean, self._processor.image_std)
        )
        return (pixel_values * std + mean).clamp(0, 1).float().cpu()


def by_image(network: nn.Module, crops: Tensor) -> Tensor:
    """(B, V, C, S, S) crops -> (B, V, D): one forward for all crops of a size."""
    outputs: Tensor = network(crops.flatten(0, 1))
    return outputs.unflatten(0, crops.shape[:2])
