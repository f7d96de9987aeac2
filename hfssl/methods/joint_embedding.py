"""What methods that compare views of an image share: a stock backbone, its features, its export. B images, D width."""

from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from hfssl.data.image_config import ImageDataConfig
from hfssl.data.source import Source
from hfssl.data.views import ViewsSpec
from hfssl.methods.joint_embedding_settings import JointEmbeddingConfig
from hfssl.methods.vision_backbone import build_backbone
from hfssl.nn.backbone import Backbone
from hfssl.nn.signals import teacher_figures, view_distance
from hfssl.nn.teacher import Teacher
from hfssl.objective import Batch, Cause, Export, LoadReport, Objective


class JointEmbedding(Objective):
    """`compares_samples`: the loss of an image depends on the other images of its micro-batch."""

    modality: ClassVar[Literal["text", "image", "audio"]] = "image"
    compares_samples: ClassVar[bool] = False

    def __init__(self, config: Any, backbone: Backbone, processor: Any) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self._processor = processor

    @property
    def batch_coupled(self) -> bool:
        norms = (module for module in self.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
        return self.compares_samples or any(norm.training for norm in norms)

    @classmethod
    def data_spec(cls, config: JointEmbeddingConfig, data: ImageDataConfig, source: Source) -> ViewsSpec:
        return ViewsSpec(data, config.views(data.image_size))

    @classmethod
    def build(cls, config: Any, spec: ViewsSpec, model_config: Any) -> Self:
        backbone = build_backbone(config, spec.data, model_config, pooling=config.pooling)
        return cls(config, backbone, spec.processor)

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
        """The backbone that is handed to strangers."""
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

    def signals(self, batch: Batch, loss_sum: Tensor, trivial_loss: float) -> dict[str, Tensor]:
        """What every one of these methods tells the monitor of a batch."""
        return {
            "trivial_loss": torch.full_like(loss_sum.detach(), trivial_loss),
            "view_distance": view_distance(batch["global_crops"]),
        }


class WithTeacher(JointEmbedding):
    """Backbone and projection head as a student, and a teacher that starts as their copy.

    A subclass sets `projection_head`, then `teacher` to `Teacher(self.student())`.
    """

    projection_head: nn.Module
    teacher: Teacher

    def student(self) -> nn.Module:
        """What the teacher follows; put together anew each time, so that a tensor has one name in the checkpoint."""
        return nn.Sequential(self.backbone, self.projection_head)

    def state_figures(self) -> dict[str, Tensor]:
        return teacher_figures(self.teacher.network.parameters(), self.student().parameters())

    def causes(self) -> dict[str, Cause]:
        momentum = self.config.teacher_momentum
        if momentum == 1:
            return {"still_teacher": Cause("its momentum is 1", "lower --teacher_momentum, to 0.99 or 0.996")}
        never = Cause("the objective does not call Teacher.follow", "let on_step_end call it with the student")
        return {"still_teacher": never}

    def load_pretrained(self, checkpoint: str) -> LoadReport:
        report = super().load_pretrained(checkpoint)
        self.teacher.restart(self.student())
        return report


def crops_of(batch: Batch) -> list[Tensor]:
    """The crops of each image by size, (B, V, C, S, S) each, the global ones first."""
    return [batch[name] for name in ("global_crops", "local_crops") if name in batch]


def by_image(network: nn.Module, crops: Tensor) -> Tensor:
    """(B, V, C, S, S) crops -> (B, V, D): one forward for all crops of a size."""
    outputs: Tensor = network(crops.flatten(0, 1))
    return outputs.unflatten(0, crops.shape[:2])
