"""BYOL: a student predicts the projection that a slowly moving teacher makes of the other view; there are no negatives.

Grill et al. 2020, "Bootstrap your own latent", arXiv 2006.07733, equations 1 and 2. The loss of an image is 2 - 2 cos between
prediction and target, the sum of both directions; the teacher is the moving average of student backbone and projection head.

B images, V views, D width.

Where we differ from the published code:
- both views go through a network in one batch, also past its BatchNorms.
- the views differ in blur and solarisation as in table 6, where the augmentation has them.
- `--prediction_hidden_size 0` leaves the prediction head out: the features then collapse, which the monitor says.

    hfssl byol --dataset path/to/images
"""

import torch
from torch import Tensor, nn
from transformers import ViTImageProcessor

from hfssl.methods.byol.config import BYOLConfig
from hfssl.methods.byol.cosine_regression import cosine_regression
from hfssl.methods.joint_embedding import WithTeacher
from hfssl.methods.vision_objective import by_image
from hfssl.models.backbone import Backbone
from hfssl.nn.heads import byol_head
from hfssl.nn.schedules import cosine
from hfssl.nn.signals import embedding_std
from hfssl.nn.teacher import Teacher
from hfssl.objective import Batch, Diagnosis, StepOutput

_LOSS_OF_RANDOM_TARGETS = 4.0  # both directions of 2 - 2 cos, where predictions and targets are unrelated


class BYOL(WithTeacher[BYOLConfig]):
    def __init__(self, config: BYOLConfig, backbone: Backbone, processor: ViTImageProcessor) -> None:
        super().__init__(config, backbone, processor)
        self.projection_head = byol_head(backbone.width, config.projection_hidden_size, config.projection_size)
        hidden = config.prediction_hidden_size
        self.prediction_head = (
            byol_head(config.projection_size, hidden, config.projection_size) if hidden else nn.Identity()
        )
        self.teacher = Teacher(self.student())

    def forward(self, batch: Batch, progress: float) -> StepOutput:
        crops = batch["global_crops"]
        projections_BVD = by_image(self.student(), crops)
        predictions_BVD = self.prediction_head(projections_BVD.flatten(0, 1)).unflatten(0, crops.shape[:2])
        targets_BVD = by_image(self.teacher, crops).flip(1)  # each view's target is the other one's projection
        loss_sum = cosine_regression(predictions_BVD.flatten(0, 1), targets_BVD.flatten(0, 1))
        signals = self.signals(batch, loss_sum, _LOSS_OF_RANDOM_TARGETS)
        signals["embedding_std"] = embedding_std(projections_BVD[:, 0])
        return StepOutput(loss_sum, torch.full_like(loss_sum, float(len(crops))), signals)

    def on_step_end(self, progress: float, applied: Tensor) -> None:
        self.teacher.follow(self.student(), cosine(progress, self.config.teacher_momentum, 1.0), applied)

    def diagnoses(self) -> dict[str, Diagnosis]:
        momentum = self.config.teacher_momentum
        if not self.config.prediction_hidden_size:
            cause = Diagnosis("there is no prediction head", "set --prediction_hidden_size above 0")
        else:
            remedy = f"lower --base_learning_rate or raise --teacher_momentum (now {momentum:g})"
            cause = Diagnosis("the prediction head lags", remedy)
        return super().diagnoses() | {"constant_embeddings": cause, "constant_features": cause, "few_dimensions": cause}
