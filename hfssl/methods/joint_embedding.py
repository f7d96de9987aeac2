"""What methods that compare views of an image share: signs of life, and a teacher. B images, V views, D width."""

from typing import Generic, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from hfssl.methods.vision_objective import VisionObjective, VisionSettings
from hfssl.nn.signals import teacher_figures, view_distance
from hfssl.nn.teacher import Teacher
from hfssl.objective import Batch, Diagnosis, LoadReport


class JointEmbedding(VisionObjective[VisionSettings], Generic[VisionSettings]):
    """Base of these methods."""

    def signals(self, batch: Batch, loss_sum: Tensor, baseline_loss: float) -> dict[str, Tensor]:
        """What every one of these methods tells the monitor of a batch."""
        return {
            "baseline_loss": torch.full_like(loss_sum.detach(), baseline_loss),
            "view_distance": view_distance(batch["global_crops"]),
        }


@runtime_checkable
class HasTeacher(Protocol):
    """The part of a config that says how fast the teacher follows."""

    @property
    def teacher_momentum(self) -> float: ...


class WithTeacher(JointEmbedding[VisionSettings], Generic[VisionSettings]):
    """Backbone and projection head as a student, and a teacher that starts as their copy.

    A subclass sets `projection_head`, then `teacher` to `Teacher(self.student())`.
    """

    projection_head: nn.Module
    teacher: Teacher

    def student(self) -> nn.Module:
        """What the teacher follows; put together at each call, so that a tensor has one name in the checkpoint."""
        return nn.Sequential(self.backbone, self.projection_head)

    def state_figures(self) -> dict[str, Tensor]:
        return teacher_figures(self.teacher.network.parameters(), self.student().parameters())

    def diagnoses(self) -> dict[str, Diagnosis]:
        assert isinstance(self.config, HasTeacher)
        momentum = self.config.teacher_momentum
        if momentum == 1:
            return {"still_teacher": Diagnosis("its momentum is 1", "lower --teacher_momentum, to 0.99 or 0.996")}
        never = Diagnosis("the objective does not call Teacher.follow", "let on_step_end call it with the student")
        return {"still_teacher": never}

    def load_pretrained(self, checkpoint: str) -> LoadReport:
        report = super().load_pretrained(checkpoint)
        self.teacher.restart(self.student())
        return report


def crops_of(batch: Batch) -> list[Tensor]:
    """The crops of each image by size, (B, V, C, S, S) each, the global ones first."""
    return [batch[name] for name in ("global_crops", "local_crops") if name in batch]
