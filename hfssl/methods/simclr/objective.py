"""SimCLR: two views of an image are pulled together, and pushed from the views of all other images of the batch.

Chen et al. 2020, "A simple framework for contrastive learning of visual representations", arXiv 2002.05709, equation 1 and
algorithm 1. The loss is NT-Xent of projections; features are those below the projection head (section 4.2).

B images, V views, D width.

Where we differ from the usual:
- negatives are gathered from all ranks with their gradient: two GPUs of B images are one of 2B, loss and gradient alike.
- both views go through the network in one batch, also past its BatchNorms.
- on images of 32 pixels there is no blur (`--augmentation small`; appendix B.9).

    hfssl simclr --dataset path/to/images
"""

import math
from typing import ClassVar

import torch
from transformers import ViTImageProcessor

from hfssl.distributed import world_size
from hfssl.methods.joint_embedding import JointEmbedding
from hfssl.methods.simclr.config import SimCLRConfig
from hfssl.methods.simclr.nt_xent import nt_xent
from hfssl.methods.vision_objective import by_image
from hfssl.models.backbone import Backbone
from hfssl.nn.heads import simclr_projection_head
from hfssl.nn.signals import embedding_std
from hfssl.objective import Batch, StepOutput


class SimCLR(JointEmbedding[SimCLRConfig]):
    compares_samples: ClassVar[bool] = True

    def __init__(self, config: SimCLRConfig, backbone: Backbone, processor: ViTImageProcessor) -> None:
        super().__init__(config, backbone, processor)
        self.projection_head = simclr_projection_head(
            backbone.width, config.projection_hidden_size, config.projection_size
        )

    def forward(self, batch: Batch, progress: float) -> StepOutput:
        features_BVD = by_image(self.backbone, batch["global_crops"])
        projections_BVD = self.projection_head(features_BVD.flatten(0, 1)).unflatten(0, features_BVD.shape[:2])
        first_BD, second_BD = projections_BVD.unbind(dim=1)
        loss_sum = nt_xent(first_BD, second_BD, self.config.temperature)
        signals = self.signals(batch, loss_sum, math.log(2 * len(first_BD) * world_size() - 1))
        signals["embedding_std"] = embedding_std(first_BD)
        return StepOutput(loss_sum, torch.full_like(loss_sum, 2.0 * len(first_BD)), signals)
