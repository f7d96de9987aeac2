"""Tiny vision configs of many architectures for images of 32 px, and an objective that trains any of them."""

import copy
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import AutoConfig

from hfssl.config.sections import OptimConfig
from hfssl.methods.byol.cosine_regression import cosine_regression
from hfssl.models.backbone import Backbone
from hfssl.nn.ema import update_ema
from hfssl.nn.heads import byol_head
from hfssl.objective import Batch, Export, LoadReport, Objective, StepOutput
from hfssl.training.optimizer import build_optimizer
from hfssl.training.step import StepContext

SIZE = 32
_VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 8, "image_size": SIZE}
_STAGES = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
_WINDOWS = {
    "embed_dim": 8,
    "depths": [1, 1],
    "num_heads": [1, 2],
    "window_size": 2,
    "image_size": SIZE,
    "patch_size": 4,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "vit": _VIT | {"intermediate_size": 32},
    "deit": _VIT | {"intermediate_size": 32},
    "vit_msn": _VIT | {"intermediate_size": 32},
    "beit": _VIT | {"intermediate_size": 32},
    "ijepa": _VIT | {"intermediate_size": 32},
    "dinov2": _VIT,
    "dinov2_with_registers": _VIT,
    "dinov3_vit": _VIT | {"intermediate_size": 32, "num_register_tokens": 2},
    "swin": _WINDOWS,
    "swinv2": _WINDOWS,
    "resnet": _STAGES | {"embedding_size": 8, "layer_type": "basic"},
    "regnet": _STAGES | {"embedding_size": 8, "groups_width": 8},
    "convnext": _STAGES,
    "convnextv2": _STAGES,
    "mobilenet_v2": {"depth_multiplier": 0.1, "image_size": SIZE},
}
KINDS = list(SETTINGS)


def config_of(kind: str, **settings: Any) -> Any:
    return AutoConfig.for_model(kind, **SETTINGS[kind] | settings)


def backbone_of(kind: str, **settings: Any) -> Backbone:
    torch.manual_seed(0)
    return Backbone.build(config_of(kind, **settings), image_size=SIZE, num_channels=3)


class Follower(Objective):
    """A student that predicts a slow teacher's features of another view."""

    modality = "image"
    paper = "none"

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = byol_head(backbone.width, 16, 8)
        self.teacher = copy.deepcopy(nn.Sequential(self.backbone, self.head)).requires_grad_(False)

    @property
    def batch_coupled(self) -> bool:
        return True

    @classmethod
    def data_pipeline(cls, config: Any, data: Any, source: Any) -> Any:
        raise NotImplementedError

    @classmethod
    def build(cls, config: Any, pipeline: Any, model_config: Any) -> Self:
        raise NotImplementedError

    def load_pretrained(self, checkpoint: str) -> LoadReport:
        return self.backbone.load_pretrained(checkpoint)

    def forward(self, batch: Batch, progress: float) -> StepOutput:
        with torch.no_grad():
            target_BD = self.teacher(batch["second"])
        loss_sum = cosine_regression(self.head(self.backbone(batch["first"])), target_BD)
        return StepOutput(loss_sum, torch.full_like(loss_sum, float(len(target_BD))), {})

    def features(self, batch: Batch) -> Tensor:
        return self.backbone(batch["first"])

    def export(self) -> Export:
        return Export(self.backbone.export(), None)

    def enable_gradient_checkpointing(self) -> None:
        self.backbone.enable_gradient_checkpointing()

    def on_step_end(self, progress: float, applied: Tensor) -> None:
        update_ema(self.teacher, nn.Sequential(self.backbone, self.head), 0.9, applied)


def parts_of(objective: Objective, accelerator: Any, optim: OptimConfig) -> StepContext:
    """What train_step works on, without data."""
    optimizer = build_optimizer(objective, optim)
    model, _ = accelerator.prepare(objective.train(), optimizer)
    return StepContext(accelerator, model, objective, optimizer, lambda batch, progress: batch, 0, None, 1.0)


def views(num_images: int, seed: int) -> Batch:
    """Two noisy views of `num_images` patterns, float32."""
    generator = torch.Generator().manual_seed(seed)
    shape = (num_images, 3, SIZE, SIZE)
    pattern = torch.randn(shape, generator=generator)
    first, second = (pattern + 0.1 * torch.randn(shape, generator=generator) for _ in range(2))
    return {"first": first, "second": second}
