"""DINO: a student learns to give the output that its own moving average gives on other crops of the image.

Caron et al. 2021, "Emerging properties in self-supervised vision transformers", arXiv 2104.14294, equations 1 to 4 and
algorithm 1. The teacher sees the two global crops, its output is centred and sharpened; the student sees all crops, and
the loss is the cross-entropy between different crops.

B images, G global crops, V crops in all (the global ones first), K outputs of the head.

Where we differ from the published code:
- the centre moves once per step, towards the mean over all ranks and micro-batches, and only where the step was applied.
- weight decay rises by `--final_weight_decay` and is left off norms, biases and tokens.
- the last layer's gain is fixed at 1; its direction is normalised inside the forward pass.
- `--max_grad_norm` clips the norm of the whole gradient, not that of each tensor; there is no drop-path.

    hfssl dino --dataset path/to/images
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import softmax
from transformers import ViTImageProcessor

from hfssl.methods.dino.centre import Centre
from hfssl.methods.dino.config import DINOConfig
from hfssl.methods.joint_embedding import WithTeacher, crops_of
from hfssl.methods.vision_objective import by_image
from hfssl.models.backbone import Backbone
from hfssl.nn.cross_view_losses import num_view_pairs, self_distillation
from hfssl.nn.heads import Prototypes, dino_head
from hfssl.nn.precision import to_float32
from hfssl.nn.schedules import cosine, linear
from hfssl.nn.signals import prototype_usage, target_signals
from hfssl.nn.teacher import Teacher
from hfssl.objective import Batch, Diagnosis, StepOutput

_USUAL_CENTRE_MOMENTUM = 0.99


class DINO(WithTeacher[DINOConfig]):
    def __init__(self, config: DINOConfig, backbone: Backbone, processor: ViTImageProcessor) -> None:
        super().__init__(config, backbone, processor)
        if config.num_local_crops:
            backbone.require_size(config.local_crop_size)
        self.projection_head = dino_head(
            backbone.width,
            config.num_prototypes,
            hidden_width=config.projection_hidden_size,
            bottleneck_width=config.projection_size,
            has_batch_norm=config.head_batch_norm,
        )
        self.teacher = Teacher(self.student())
        self.centre = Centre(config.num_prototypes, config.centre_momentum)

    def exported(self) -> Backbone:
        """The teacher's: better than the student's all the way (Caron et al. 2021, section 5.2 and figure 6)."""
        backbone = self.teacher.network.get_submodule("0")
        assert isinstance(backbone, Backbone)
        return backbone

    def forward(self, batch: Batch, progress: float) -> StepOutput:
        student = self.student()
        student_BVK = torch.cat([by_image(student, crops) for crops in crops_of(batch)], dim=1)
        teacher_BGK = by_image(self.teacher, batch["global_crops"])
        loss_sum = self_distillation(
            teacher_BGK,
            student_BVK,
            self.centre.centre_K,
            teacher_temperature=self._teacher_temperature(progress),
            student_temperature=self.config.student_temperature,
        )
        self.centre.stage(teacher_BGK.flatten(0, 1))
        count = num_view_pairs(len(teacher_BGK), teacher_BGK.shape[1], student_BVK.shape[1])
        signals = self.signals(batch, loss_sum, math.log(self.config.num_prototypes))
        signals |= self._output_signals(teacher_BGK[:, 0], progress)
        return StepOutput(loss_sum, torch.full_like(loss_sum, float(count)), signals)

    @torch.no_grad()
    def _output_signals(self, teacher_BK: Tensor, progress: float) -> dict[str, Tensor]:
        centred_BK = to_float32(teacher_BK) - self.centre.centre_K
        return target_signals(softmax(centred_BK / self._teacher_temperature(progress), dim=1)) | {
            "prototype_usage": prototype_usage(centred_BK)
        }

    def state_figures(self) -> dict[str, Tensor]:
        return super().state_figures() | {"centre_norm": self.centre.centre_K.norm()}

    def _teacher_temperature(self, progress: float) -> float:
        """Rises along a line over the warm-up, then stays (Caron et al. 2021, section 3.3)."""
        share = self.config.teacher_temperature_warmup_fraction
        passed = 1.0 if share == 0 else progress / share
        return linear(passed, self.config.initial_teacher_temperature, self.config.teacher_temperature)

    def on_gradients_ready(self, progress: float) -> None:
        if progress < self.config.freeze_last_layer_fraction:
            *_, last = self.projection_head.children()
            assert isinstance(last, Prototypes)
            last.weight.grad = None

    def on_step_end(self, progress: float, applied: Tensor) -> None:
        self.teacher.follow(self.student(), cosine(progress, self.config.teacher_momentum, 1.0), applied)
        self.centre.commit(applied)

    def diagnoses(self) -> dict[str, Diagnosis]:
        config = self.config
        hottest = max(config.teacher_temperature, config.initial_teacher_temperature)
        held = f"set --centre_momentum 0.9 (now {config.centre_momentum:g})"
        if config.centre_momentum <= _USUAL_CENTRE_MOMENTUM:
            held = f"raise --teacher_temperature (now {config.teacher_temperature:g})"
        uniform = Diagnosis(
            "the teacher is not sharp enough",
            f"lower --teacher_temperature (now {hottest:g}) or --base_learning_rate",
        )
        return super().diagnoses() | {
            "few_outputs": Diagnosis("the centring does not hold them back", held),
            "uniform_output": uniform,
            "baseline_loss": uniform,
        }
