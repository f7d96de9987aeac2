"""Rotation prediction: the network sees each image in its four quarter turns and says which is which.

Gidaris et al. 2018, "Unsupervised representation learning by predicting image rotations", arXiv 1803.07728, equations 1 to 3:
the cross-entropy of a linear classifier of four classes, over all four rotations of each image.

B images, R rotations, S pixels a side, D width.

An image is cropped to a square and mirrored first and rotated last, by moving pixels: no interpolation, no black corner and
no stretched axis gives the answer away (section 3.1). To tell the turns apart a network has to know what stands upright; where
nothing does, as in micrographs or satellite images, there is nothing to learn.

Where we differ from the published code:
- the classifier is one linear layer on the pooled features, which are what is exported; there the last convolutional block
  belongs to the task only.

    hfssl rotation --dataset path/to/images
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.transforms.v2.functional import center_crop
from transformers import ViTImageProcessor

from hfssl.data.images.config import ImageDataConfig
from hfssl.data.images.views import ViewsPipeline
from hfssl.data.source import Source
from hfssl.methods.rotation.config import RotationConfig
from hfssl.methods.rotation.quarter_turns import DEGREES, quarter_turns
from hfssl.methods.vision_objective import VisionObjective, by_image
from hfssl.models.backbone import Backbone
from hfssl.nn.cross_entropy import summed_cross_entropy
from hfssl.nn.precision import to_float32
from hfssl.objective import Batch, Diagnosis, Picture, Pretext, StepOutput

_PICTURED_IMAGES = 8


class RotationPipeline(ViewsPipeline):
    """One augmented crop of each image in all rotations: `rotations` (B, R, C, S, S)."""

    def cut(self, batch: Batch) -> Batch:
        cut = super().cut(batch)
        return cut | {"rotations": quarter_turns(cut.pop("global_crops")[:, 0])}

    def eval_transform(self, examples: Sequence[Tensor], first: int = 0) -> Batch:
        """Adds `squares` (B, C, S, S), the images' central squares: a whole image that is not one is stretched."""
        batch = super().eval_transform(examples, first)
        if all(example.shape[1] == example.shape[2] for example in examples):
            return batch | {"squares": batch["pixel_values"]}
        squares = [center_crop(example, [min(example.shape[1:])] * 2) for example in examples]
        return batch | {"squares": super().eval_transform(squares)["pixel_values"]}


class Rotation(VisionObjective[RotationConfig]):
    def __init__(self, config: RotationConfig, backbone: Backbone, processor: ViTImageProcessor) -> None:
        super().__init__(config, backbone, processor)
        self.classifier = nn.Linear(backbone.width, len(DEGREES))

    @classmethod
    def data_pipeline(cls, config: RotationConfig, data: ImageDataConfig, source: Source | None) -> RotationPipeline:
        return RotationPipeline(data, config.views(data.image_size))

    def forward(self, batch: Batch, progress: float) -> StepOutput:
        logits_BRR = to_float32(self._logits(batch["rotations"]))
        turns_BR = _turns(logits_BRR)
        loss_sum = summed_cross_entropy(logits_BRR.flatten(0, 1), turns_BR.flatten())
        metrics = {
            "accuracy": (logits_BRR.detach().argmax(dim=2) == turns_BR).float().mean(),
            "baseline_loss": torch.full_like(loss_sum.detach(), math.log(len(DEGREES))),
        }
        return StepOutput(loss_sum, torch.full_like(loss_sum, float(turns_BR.numel())), metrics)

    def _logits(self, rotations: Tensor) -> Tensor:
        """(B, R, C, S, S) -> (B, R, R): of each rotation, how much it looks like each turn."""
        logits_BRR: Tensor = self.classifier(by_image(self.backbone, rotations))
        return logits_BRR

    def diagnoses(self) -> dict[str, Diagnosis]:
        upright = "nothing in the images stands upright, or the learning rate is too high or too low"
        return {
            "baseline_loss": Diagnosis(upright, "look at the images with `hfssl preview`, then at --base_learning_rate")
        }

    @torch.no_grad()
    def pretext(self, batch: Batch) -> Pretext:
        logits_BRR = self._logits(quarter_turns(batch["squares"]))
        correct_BR = (logits_BRR.argmax(dim=2) == _turns(logits_BRR)).float()
        parts = {f"turned by {degrees}°": correct_BR[:, turn] for turn, degrees in enumerate(DEGREES)}
        return Pretext(parts, chance=1 / len(DEGREES))

    @torch.no_grad()
    def illustrate(self, batch: Batch) -> list[Picture]:
        """Images in their four turns, each with the answer."""
        rotations = quarter_turns(batch["squares"][:_PICTURED_IMAGES])
        answers_BR = self._logits(rotations).argmax(dim=2).tolist()
        captions = [[f"says {DEGREES[answers[turn]]}°" for answers in answers_BR] for turn in range(len(DEGREES))]
        titles = [f"{degrees}°" for degrees in DEGREES]
        return [Picture("rotations", titles, self.shown(rotations).transpose(0, 1), captions)]


def _turns(logits_BRR: Tensor) -> Tensor:
    """The right answers; (B, R) int64."""
    return torch.arange(len(DEGREES), device=logits_BRR.device).expand(len(logits_BRR), -1)
