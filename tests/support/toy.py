"""A toy objective with everything that can go wrong on a resume: BatchNorm, a teacher, a queue, dropout, uneven targets."""

import copy
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from transformers import ViTConfig, ViTModel

from hfssl.config.fields import option
from hfssl.config.sections import MethodConfig
from hfssl.data.images.pipeline import ImagePipeline
from hfssl.nn.batch_norm import across_ranks
from hfssl.nn.ema import update_ema
from hfssl.nn.queue import FeatureQueue
from hfssl.nn.schedules import cosine
from hfssl.objective import Batch, Export, LoadReport, Objective, StepOutput

WIDTH = 8
MOMENTUM = (0.9, 1.0)


@dataclass(frozen=True, kw_only=True)
class ToyConfig(MethodConfig):
    recipe: ClassVar[str] = "toy"
    modality: ClassVar[str] = "image"
    reference_batch: ClassVar[int | None] = 256
    batch_norm: bool = option(True, "normalise over the batch of all ranks")
    dropout: float = option(0.1, "share of dropped units")


class Toy(Objective):
    """The student follows its own slow teacher and leaves the queue's features; a third of the samples have no target."""

    modality = "image"
    paper = "none"

    def __init__(self, student: nn.Sequential) -> None:
        super().__init__()
        self.student = student
        self.teacher = copy.deepcopy(student).requires_grad_(False)
        self.queue = FeatureQueue(32, WIDTH, torch.Generator().manual_seed(0))

    @property
    def batch_coupled(self) -> bool:
        return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in self.modules())

    @classmethod
    def data_pipeline(cls, config: ToyConfig, data: Any, source: Any) -> ImagePipeline:
        return ImagePipeline(data, crop_scale=(0.5, 1.0), horizontal_flip=True, draw=lambda keys_B: {})

    @classmethod
    def build(cls, config: ToyConfig, pipeline: ImagePipeline, model_config: Any) -> Self:
        inputs = pipeline.data.num_channels * pipeline.data.image_size**2
        norm: nn.Module = nn.BatchNorm1d(16) if config.batch_norm else nn.Identity()
        layers = [
            nn.Flatten(),
            nn.Linear(inputs, 16),
            norm,
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(16, WIDTH),
        ]
        student = nn.Sequential(*layers)
        across_ranks(student)
        return cls(student)

    def load_pretrained(self, checkpoint: str) -> LoadReport:
        return LoadReport([], [], [])

    def enable_gradient_checkpointing(self) -> None:
        """Nothing worth recomputing."""

    def forward(self, batch: Batch, progress: float) -> StepOutput:
        pixels = batch["pixel_values"]
        predicted_BD = self.student(pixels)
        with torch.no_grad():
            target_BD = self.teacher(pixels)
        self.queue.stage(target_BD.float())
        queued = self.queue.features_QD.to(predicted_BD.dtype)
        errors_B = (predicted_BD - target_BD).square().mean(dim=1) + 0.1 * (predicted_BD @ queued.T).tanh().mean(dim=1)
        counts_B = (batch["keys"] % 3 != 0).to(errors_B.dtype)
        return StepOutput((errors_B * counts_B).sum(), counts_B.sum(), {"target_size": target_BD.square().mean()})

    def features(self, batch: Batch) -> Tensor:
        return self.student(batch["pixel_values"])

    def export(self) -> Export:
        config = ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=8, patch_size=8)
        return Export(ViTModel(config, add_pooling_layer=False), None)

    def on_step_end(self, progress: float, applied: Tensor) -> None:
        update_ema(self.teacher, self.student, cosine(progress, *MOMENTUM), applied)
        self.queue.commit(applied)
