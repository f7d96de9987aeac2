"""SwAV: each view predicts the cluster of another view of its image, while the batch shares out all clusters equally.

Caron et al. 2020, "Unsupervised learning of visual features by contrasting cluster assignments", arXiv 2006.09882, equations
1 to 6. Codes of the two global crops come from the Sinkhorn-Knopp algorithm over all ranks; every other crop of the
image, the small local ones included, predicts them through its cosines with the prototypes.

B images, G global crops, V crops in all (the global ones first), D width, K prototypes, Q rows of the queue.

Where we differ from the published code:
- prototypes are normalised inside the forward pass instead of being written back before it (see `nn/heads.py`).
- codes are computed crop by crop over the joined batch of all ranks: two ranks give the codes of one.
- the queue is filled from the first step on and used after `--queue_start_fraction`, whatever its length.

    hfssl swav --dataset path/to/images
"""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from transformers import ViTImageProcessor

from hfssl.methods.joint_embedding import JointEmbedding, crops_of
from hfssl.methods.swav.config import SwAVConfig
from hfssl.methods.swav.sinkhorn import sinkhorn
from hfssl.methods.vision_objective import by_image
from hfssl.models.backbone import Backbone
from hfssl.nn.cross_view_losses import num_view_pairs, swapped_prediction
from hfssl.nn.heads import Prototypes, swav_projection_head
from hfssl.nn.queue import FeatureQueue
from hfssl.nn.signals import embedding_std, prototype_usage, target_signals
from hfssl.objective import Batch, Diagnosis, StepOutput


class SwAV(JointEmbedding[SwAVConfig]):
    compares_samples: ClassVar[bool] = True

    def __init__(self, config: SwAVConfig, backbone: Backbone, processor: ViTImageProcessor) -> None:
        super().__init__(config, backbone, processor)
        if config.num_local_crops:
            backbone.require_size(config.local_crop_size)
        self.projection_head = swav_projection_head(
            backbone.width, config.projection_hidden_size, config.projection_size
        )
        self.prototypes = Prototypes(config.projection_size, config.num_prototypes)
        num_queues = 2 if config.queue_size else 0
        self.queues = nn.ModuleList(FeatureQueue(config.queue_size, config.projection_size) for _ in range(num_queues))

    def forward(self, batch: Batch, progress: float) -> StepOutput:
        projections_BVD = torch.cat([self._projected(crops) for crops in crops_of(batch)], dim=1)
        scores_BVK = self.prototypes(projections_BVD)
        num_targets = batch["global_crops"].shape[1]
        codes_BGK = self._codes(scores_BVK[:, :num_targets].detach(), projections_BVD.detach(), progress)
        loss_sum = swapped_prediction(codes_BGK, scores_BVK, self.config.temperature)
        count = num_view_pairs(len(scores_BVK), num_targets, scores_BVK.shape[1])
        signals = self.signals(batch, loss_sum, math.log(self.config.num_prototypes))
        signals |= target_signals(codes_BGK[:, 0]) | {"prototype_usage": prototype_usage(scores_BVK[:, 0])}
        signals["embedding_std"] = embedding_std(projections_BVD[:, 0])
        return StepOutput(loss_sum, torch.full_like(loss_sum, float(count)), signals)

    def _projected(self, crops: Tensor) -> Tensor:
        """(B, V, D) unit projections of crops of one size."""
        features_BVD = by_image(self.backbone, crops)
        projections: Tensor = self.projection_head(features_BVD.flatten(0, 1))
        return projections.unflatten(0, crops.shape[:2])

    @torch.no_grad()
    def _codes(self, scores_BGK: Tensor, projections_BVD: Tensor, progress: float) -> Tensor:
        codes = []
        for crop, scores_BK in enumerate(scores_BGK.unbind(dim=1)):
            queued_QK = None
            if self.queues:
                queue = self.queues[crop]
                assert isinstance(queue, FeatureQueue)
                if progress >= self.config.queue_start_fraction:
                    queued_QK = self.prototypes(queue.features_QD)
                queue.stage(projections_BVD[:, crop])
            epsilon, iterations = self.config.sinkhorn_epsilon, self.config.sinkhorn_iterations
            codes.append(sinkhorn(scores_BK, epsilon=epsilon, iterations=iterations, queued_QK=queued_QK))
        return torch.stack(codes, dim=1)

    def on_gradients_ready(self, progress: float) -> None:
        if progress < self.config.freeze_prototypes_fraction:
            self.prototypes.weight.grad = None

    def on_step_end(self, progress: float, applied: Tensor) -> None:
        for queue in self.queues:
            assert isinstance(queue, FeatureQueue)
            queue.commit(applied)

    def diagnoses(self) -> dict[str, Diagnosis]:
        config = self.config
        uniform = Diagnosis(
            "the codes are too smooth",
            f"lower --sinkhorn_epsilon (now {config.sinkhorn_epsilon:g}) or --base_learning_rate",
        )
        single = Diagnosis(
            "the codes are unbalanced",
            f"raise --sinkhorn_iterations (now {config.sinkhorn_iterations})",
        )
        return {"uniform_output": uniform, "baseline_loss": uniform, "few_outputs": single}
