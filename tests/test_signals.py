"""Signs of life of a batch: each says what it says, on tensors made by hand. B samples, N rows, D width, K outputs."""

import math

import pytest
import torch
from torch import nn

from hfssl.nn.signals import (
    embedding_std,
    prototype_usage,
    target_signals,
    teacher_figures,
    view_distance,
    weight_figures,
)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_isotropic_projections_have_a_std_of_one_and_constant_ones_of_zero() -> None:
    assert float(embedding_std(normal(4096, 32))) == pytest.approx(1.0, abs=0.02)
    assert float(embedding_std(normal(4096, 32) * 7.0)) == pytest.approx(1.0, abs=0.02)
    assert float(embedding_std(torch.ones(64, 32))) == 0.0


def test_rows_that_are_not_used_do_not_count() -> None:
    rows = normal(64, 32) + 1.0
    used = torch.arange(64) % 3 > 0
    assert float(embedding_std(rows, used)) == pytest.approx(float(embedding_std(rows[used])), rel=1e-5)
    assert float(embedding_std(rows, torch.zeros_like(used))) == 1.0


def test_the_two_collapses_of_a_teacher_are_told_apart() -> None:
    uniform = target_signals(torch.full((16, 10), 0.1))
    single = target_signals(torch.eye(10)[torch.zeros(16, dtype=torch.int64)])
    healthy = target_signals(torch.eye(10)[torch.arange(20) % 10])
    assert [float(value) for value in uniform.values()] == pytest.approx([1.0, 1.0])
    assert [float(value) for value in single.values()] == pytest.approx([0.0, 0.0])
    assert [float(value) for value in healthy.values()] == pytest.approx([0.0, 1.0])


def test_as_many_outputs_as_rows_are_all_that_can_be_in_use() -> None:
    assert float(target_signals(torch.eye(1024)[:16])["marginal_entropy"]) == pytest.approx(1.0)


def test_few_rows_say_nothing_of_all_samples() -> None:
    assert target_signals(torch.eye(10)[:1]).keys() == {"teacher_entropy"}


def test_prototype_usage_counts_the_prototypes_that_are_nearest() -> None:
    assert float(prototype_usage(torch.eye(8).repeat(4, 1))) == pytest.approx(1.0)
    assert float(prototype_usage(torch.eye(8)[torch.zeros(32, dtype=torch.int64)])) == pytest.approx(1 / 8)
    assert float(prototype_usage(torch.eye(64)[:4])) == pytest.approx(1.0)


def test_views_of_an_image_are_compared_with_views_of_others() -> None:
    images = normal(16, 1, 3, 20, 20).expand(-1, 2, -1, -1, -1)
    assert float(view_distance(images)) == 0.0
    assert 0.0 < float(view_distance(images + 0.3 * normal(16, 2, 3, 20, 20, seed=1))) < 0.3
    assert float(view_distance(normal(16, 2, 3, 20, 20))) == pytest.approx(1.0, abs=0.1)
    assert float(view_distance(torch.ones(16, 2, 3, 20, 20))) == 1.0


def test_a_teacher_is_measured_against_its_student() -> None:
    student, teacher = nn.Linear(3, 3), nn.Linear(3, 3)
    teacher.load_state_dict(student.state_dict())
    equal = teacher_figures(teacher.parameters(), student.parameters())
    assert (float(equal["teacher_distance"]), float(equal["teacher_shared"])) == (0.0, 0.0)
    shared = teacher_figures(student.parameters(), student.parameters())
    assert float(shared["teacher_shared"]) == 1.0
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.mul_(1.5)
    moved = teacher_figures(teacher.parameters(), student.parameters())
    assert float(moved["teacher_distance"]) == pytest.approx(0.5, rel=1e-5)
    assert float(moved["teacher_mark"]) != float(equal["teacher_mark"])


def test_the_mark_of_weights_changes_with_the_smallest_move_and_not_with_what_is_frozen() -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
    model[1].requires_grad_(False)
    before = {name: float(value) for name, value in weight_figures(model).items()}
    with torch.no_grad():
        model[1].weight.zero_()
    assert {name: float(value) for name, value in weight_figures(model).items()} == before
    with torch.no_grad():
        model[0].bias[0] = math.nextafter(float(model[0].bias[0]), math.inf) + 1e-7
    assert float(weight_figures(model)["weight_mark"]) != before["weight_mark"]
