"""MoCo v2: a view finds the key that a slowly moving encoder makes of the other view, among keys of earlier batches.

He et al. 2020, "Momentum contrast for unsupervised visual representation learning", arXiv 1911.05722, equations 1 and 2 and
algorithm 1; with the MLP head, the augmentation and the temperature of Chen et al. 2020, "Improved baselines with momentum
contrastive learning", arXiv 2003.04297. The loss is InfoNCE of a query with its key and the keys in a queue.

B images, V views, D width, Q keys in the queue.

Where we differ from the published code:
- the keys of a batch enter the queue at the end of the step, and only where the step was applied; the key encoder follows
  there too, which is the same order, since the published one moves it right before the next forward.
- BatchNorms would tell a query which keys lie in its batch. As in the paper the batch is shuffled before the key encoder
  and normalised in splits (section 3.3), also on one device and by the samples' keys. A backbone without BatchNorm, a
  ViT for example, needs neither.

    hfssl moco --dataset path/to/images
"""

import math

import torch
from torch import Tensor
from transformers import ViTImageProcessor

from hfssl.errors import require
from hfssl.methods.joint_embedding import WithTeacher
from hfssl.methods.moco.config import MoCoConfig
from hfssl.methods.moco.info_nce import info_nce
from hfssl.methods.moco.shuffle import keyed_shuffle
from hfssl.models.backbone import Backbone
from hfssl.nn.batch_norm import split_statistics
from hfssl.nn.heads import moco_projection_head
from hfssl.nn.precision import unit_rows
from hfssl.nn.queue import FeatureQueue
from hfssl.nn.signals import embedding_std
from hfssl.nn.teacher import Teacher
from hfssl.objective import Batch, StepOutput

DEFAULT_SPLITS = 8


class MoCo(WithTeacher[MoCoConfig]):
    def __init__(self, config: MoCoConfig, backbone: Backbone, processor: ViTImageProcessor) -> None:
        super().__init__(config, backbone, processor)
        require(
            config.batch_norm_splits is None or backbone.has_batch_norm,
            f"batch_norm_splits {config.batch_norm_splits} has no effect: this backbone has no BatchNorm; leave it out",
        )
        self.projection_head = moco_projection_head(
            backbone.width, config.projection_hidden_size, config.projection_size
        )
        if backbone.has_batch_norm:
            split_statistics(backbone, config.batch_norm_splits or DEFAULT_SPLITS)
        self.teacher = Teacher(self.student())
        self.queue = FeatureQueue(config.queue_size, config.projection_size)

    def forward(self, batch: Batch, progress: float) -> StepOutput:
        queries, keys = batch["global_crops"].unbind(dim=1)
        queries_BD = self.student()(queries)
        keys_BD = self._keys(keys, batch["keys"])
        loss_sum = info_nce(queries_BD, keys_BD, self.queue.features_QD, self.config.temperature)
        self.queue.stage(unit_rows(keys_BD))
        signals = self.signals(batch, loss_sum, math.log(1 + self.config.queue_size))
        signals["embedding_std"] = embedding_std(queries_BD)
        return StepOutput(loss_sum, torch.full_like(loss_sum, float(len(queries))), signals)

    @torch.no_grad()
    def _keys(self, views: Tensor, sample_keys_B: Tensor) -> Tensor:
        """(B, D) projections of the key encoder, computed on a shuffled batch where BatchNorms look at it."""
        if not (self.backbone.has_batch_norm and self.training):
            keys_BD: Tensor = self.teacher(views)
            return keys_BD
        shuffle = keyed_shuffle(sample_keys_B)
        return shuffle.undo(self.teacher(shuffle.do(views)))

    def on_step_end(self, progress: float, applied: Tensor) -> None:
        self.teacher.follow(self.student(), self.config.teacher_momentum, applied)
        self.queue.commit(applied)
