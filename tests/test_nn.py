"""Shared parts: EMA in closed form, a queue that forgets in order, BatchNorm over ranks, collapse seen and not imagined."""

import copy

import pytest
import torch
from torch import Tensor, nn

from hfssl.nn.batch_norm import CrossRankBatchNorm, across_ranks
from hfssl.nn.collapse import collapse_warnings, feature_std, rank_me
from hfssl.nn.ema import update_ema
from hfssl.nn.queue import FeatureQueue
from tests.support.ranks import Ranks

YES, NO = torch.tensor(True), torch.tensor(False)


def test_teacher_equals_the_closed_form_of_its_students() -> None:
    student = nn.Linear(3, 2)
    teacher = copy.deepcopy(student)
    expected = teacher.weight.detach().clone()
    for step in range(5):
        with torch.no_grad():
            student.weight.normal_(generator=torch.Generator().manual_seed(step))
        expected = 0.9 * expected + 0.1 * student.weight.detach()
        update_ema(teacher, student, 0.9, YES)
    assert torch.allclose(teacher.weight, expected, atol=1e-6)
    before = teacher.weight.clone()
    with torch.no_grad():
        student.weight.fill_(torch.nan)
    update_ema(teacher, student, 0.9, NO)
    assert torch.equal(teacher.weight, before)


def test_queue_takes_staged_rows_once_in_order_and_only_where_applied() -> None:
    queue = FeatureQueue(4, 2, torch.Generator().manual_seed(0))
    start = queue.features_QD.clone()
    queue.stage(torch.full((3, 2), torch.nan))
    queue.commit(NO)
    assert torch.equal(queue.features_QD, start)
    queue.stage(torch.full((2, 2), 1.0))
    queue.stage(torch.full((1, 2), 2.0))
    queue.commit(YES)
    assert queue.features_QD[:, 0].tolist()[:3] == [1.0, 1.0, 2.0]
    queue.stage(torch.full((2, 2), 3.0))
    queue.commit(YES)
    queue.commit(YES)
    assert queue.features_QD[:, 0].tolist() == [3.0, 1.0, 2.0, 3.0]


def batch_norm_of(rank_sizes: list[int]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """(outputs, input gradients, buffers) of this rank's share of 12 rows in float64."""
    import torch.distributed as dist
    from accelerate import PartialState

    PartialState(cpu=True)
    rank = dist.get_rank() if dist.is_initialized() else 0
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(12, 3, 2, generator=generator, dtype=torch.float64) * 3 + 5
    weights = torch.randn(12, 3, 2, generator=generator, dtype=torch.float64)
    start = sum(rank_sizes[:rank])
    mine = slice(start, start + rank_sizes[rank])
    norm = CrossRankBatchNorm(3, momentum=0.3).double()
    inputs = rows[mine].clone().requires_grad_(True)
    outputs = norm(inputs)
    (outputs.square() * weights[mine]).sum().backward()
    return outputs.detach(), inputs.grad, dict(norm.named_buffers())


def test_two_ranks_normalise_and_differentiate_like_one_batch(ranks: Ranks) -> None:
    whole = batch_norm_of([12])
    stock = nn.BatchNorm1d(3, momentum=0.3).double()
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(12, 3, 2, generator=generator, dtype=torch.float64) * 3 + 5
    assert torch.allclose(stock(rows), whole[0])
    for sizes in ([6, 6], [9, 3]):
        first, second = ranks.two(batch_norm_of, sizes)
        for part in (0, 1):
            assert torch.allclose(torch.cat([first[part], second[part]]), whole[part], rtol=1e-12, atol=1e-12)
        for name, buffer in whole[2].items():
            assert torch.allclose(first[2][name], buffer, rtol=1e-12)
            assert torch.equal(first[2][name], second[2][name])


def test_across_ranks_keeps_parameters_buffers_and_names() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4, momentum=0.3)))
    model(torch.randn(8, 3, 2, 2))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    across_ranks(model)
    assert isinstance(model[1][0], CrossRankBatchNorm)
    assert model[1][0].momentum == 0.3
    decay_of_tensorflow = across_ranks(nn.Sequential(nn.BatchNorm2d(4, momentum=0.997)))
    assert decay_of_tensorflow[0].momentum == 0.1
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_collapse_is_seen_and_not_imagined() -> None:
    generator = torch.Generator().manual_seed(0)
    healthy = torch.randn(500, 64, generator=generator)
    line = torch.randn(500, 1, generator=generator) * torch.ones(1, 64)
    assert collapse_warnings(healthy) == []
    assert collapse_warnings(healthy * 0.1 + 1.0) == []
    assert len(collapse_warnings(torch.ones(500, 64))) == 2
    assert len(collapse_warnings(torch.ones(500, 64) + 1e-4 * healthy)) == 1
    assert "use only 1.0 dimensions" in collapse_warnings(line)[0]
    assert feature_std(healthy) == pytest.approx(1.0, abs=0.02)
    assert rank_me(healthy) > 55
    assert rank_me(torch.eye(64).repeat(4, 1)) == pytest.approx(63, rel=0.01)
