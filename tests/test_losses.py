"""Losses: equal to slow loops written from the papers, and the same on two ranks as on one."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hfssl.methods.byol.cosine_regression import cosine_regression
from hfssl.methods.moco.info_nce import info_nce
from hfssl.methods.simclr.nt_xent import nt_xent
from hfssl.methods.swav.sinkhorn import sinkhorn
from hfssl.nn.cross_view_losses import num_view_pairs, self_distillation, swapped_prediction
from hfssl.nn.queue import FeatureQueue
from tests.support.ranks import Ranks

IMAGES, WIDTH, PROTOTYPES, GLOBAL, VIEWS = 6, 5, 7, 2, 4


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).sum() / (one.square().sum().sqrt() * other.square().sum().sqrt())


def nt_xent_of_the_paper(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    views = [view for pair in zip(first, second, strict=True) for view in pair]
    total = torch.zeros((), dtype=torch.float64)
    for i in range(len(views)):
        j = i + 1 if i % 2 == 0 else i - 1
        others = [torch.exp(cosine(views[i], views[k]) / temperature) for k in range(len(views)) if k != i]
        total = total - torch.log(torch.exp(cosine(views[i], views[j]) / temperature) / torch.stack(others).sum())
    return total


def info_nce_of_the_paper(queries: Tensor, keys: Tensor, queue: Tensor, temperature: float) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for query, key in zip(queries, keys, strict=True):
        positive = torch.exp(cosine(query, key) / temperature)
        negatives = [torch.exp(cosine(query, row) / temperature) for row in queue]
        total = total - torch.log(positive / (positive + torch.stack(negatives).sum()))
    return total


def regression_of_the_paper(predictions: Tensor, targets: Tensor) -> Tensor:
    pairs = zip(predictions, targets, strict=True)
    return torch.stack([(p / p.norm() - t / t.norm()).square().sum() for p, t in pairs]).sum()


def dino_of_the_paper(teacher: Tensor, student: Tensor, centre: Tensor) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for image in range(len(teacher)):
        for t in range(teacher.shape[1]):
            for s in range(student.shape[1]):
                if s != t:
                    target = torch.softmax((teacher[image, t] - centre) / 0.04, dim=0)
                    total = total - (target * torch.log(torch.softmax(student[image, s] / 0.1, dim=0))).sum()
    return total


def swav_of_the_paper(codes: Tensor, scores: Tensor) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for image in range(len(codes)):
        for crop in range(codes.shape[1]):
            for other in range(scores.shape[1]):
                if other != crop:
                    total = total - codes[image, crop] @ torch.log(torch.softmax(scores[image, other] / 0.1, dim=0))
    return total


def self_distilled(teacher: Tensor, student: Tensor, centre: Tensor) -> Tensor:
    return self_distillation(teacher, student, centre, teacher_temperature=0.04, student_temperature=0.1)


Loss = Callable[[Tensor, Tensor], Tensor]
QUEUE = torch.nn.functional.normalize(drawn(9, WIDTH, seed=7), dim=1)
CENTRE = drawn(PROTOTYPES, seed=8)
FLAT, VIEWED = (IMAGES, WIDTH), (IMAGES, VIEWS, PROTOTYPES)
LOSSES: dict[
    str, tuple[Loss, Loss, tuple[int, ...], int]
] = {  # ours, the paper's, shape of the inputs, targets an image
    "nt_xent": (lambda x, y: nt_xent(x, y, 0.3), lambda x, y: nt_xent_of_the_paper(x, y, 0.3), FLAT, 2),
    "info_nce": (
        lambda x, y: info_nce(x, y, QUEUE, 0.2),
        lambda x, y: info_nce_of_the_paper(x, y.detach(), QUEUE, 0.2),
        FLAT,
        1,
    ),
    "regression": (cosine_regression, lambda x, y: regression_of_the_paper(x, y.detach()), FLAT, 1),
    "dino": (
        lambda x, y: self_distilled(y[:, :GLOBAL], x, CENTRE),
        lambda x, y: dino_of_the_paper(y[:, :GLOBAL].detach(), x, CENTRE),
        VIEWED,
        GLOBAL * (VIEWS - 1),
    ),
    "swav": (
        lambda x, y: swapped_prediction(y[:, :GLOBAL].softmax(dim=2), x, 0.1),
        lambda x, y: swav_of_the_paper(y[:, :GLOBAL].softmax(dim=2).detach(), x),
        VIEWED,
        GLOBAL * (VIEWS - 1),
    ),
}
each_loss = pytest.mark.parametrize("name", list(LOSSES))


def with_gradients(loss: Loss, one: Tensor, other: Tensor) -> list[Tensor]:
    one, other = one.clone().requires_grad_(True), other.clone().requires_grad_(True)
    value = loss(one, other)
    value.backward()
    return [value.detach(), one.grad, torch.zeros_like(other) if other.grad is None else other.grad]


@each_loss
def test_loss_and_gradients_equal_the_papers_loop(name: str) -> None:
    ours, papers, shape, _ = LOSSES[name]
    results = [with_gradients(loss, drawn(*shape), drawn(*shape, seed=1)) for loss in (ours, papers)]
    for mine, theirs in zip(*results, strict=True):
        assert mine.dtype == torch.float64
        assert torch.allclose(mine, theirs, rtol=1e-10, atol=1e-12)
    assert bool(results[0][2].any()) == (name == "nt_xent")  # keys, targets and codes get no gradient


def on_shares(name: str) -> tuple[float, Tensor]:
    """(mean loss over all targets, its gradient for a shared weight) as the loop computes them on all ranks."""
    import torch.distributed as dist
    from accelerate import PartialState

    from hfssl.distributed import all_reduce_sum, rank, world_size

    PartialState(cpu=True)
    assert world_size() == (dist.get_world_size() if dist.is_initialized() else 1)
    loss, _, shape, targets = LOSSES[name]
    share = IMAGES // world_size()
    mine = slice(rank() * share, (rank() + 1) * share)
    weight = drawn(shape[-1], shape[-1], seed=3).requires_grad_(True)
    value = loss(drawn(*shape)[mine] @ weight, (drawn(*shape, seed=1)[mine] @ weight).tanh())
    value.backward()
    averaged = all_reduce_sum(weight.grad) / world_size()  # as DDP does
    num_targets = all_reduce_sum(torch.tensor(float(share * targets)))
    return float(all_reduce_sum(value) / num_targets), averaged * world_size() / num_targets


@pytest.fixture(scope="module")
def on_two_ranks(ranks: Ranks) -> list[dict[str, tuple[float, Tensor]]]:
    return ranks.two(all_on_shares)


def all_on_shares() -> dict[str, tuple[float, Tensor]]:
    return {name: on_shares(name) for name in LOSSES}


@each_loss
def test_two_ranks_equal_one_process(name: str, on_two_ranks: list[dict[str, tuple[float, Tensor]]]) -> None:
    loss, gradient = on_shares(name)
    assert float(gradient.norm()) > 1e-3
    for answers in on_two_ranks:
        assert answers[name][0] == pytest.approx(loss, rel=1e-12)
        assert torch.allclose(answers[name][1], gradient, rtol=1e-10, atol=1e-12)


def test_random_features_give_the_loss_of_a_guess() -> None:
    num_images = 256
    projections = drawn(num_images, 4096), drawn(num_images, 4096, seed=1)
    guess = math.log(2 * num_images - 1)
    assert float(nt_xent(*projections, 0.5)) / (2 * num_images) == pytest.approx(guess, abs=0.01)


def test_identical_keys_and_an_orthogonal_queue_leave_no_contrastive_loss() -> None:
    basis = torch.eye(8, dtype=torch.float64)
    assert float(info_nce(basis[:4], 3 * basis[:4], basis[4:], 0.02)) < 1e-12
    assert float(info_nce(basis[:4], basis[:4], basis[:4], 0.02)) == pytest.approx(4 * math.log(2))  # key in the queue


def test_logits_are_read_before_the_keys_enter_the_queue() -> None:
    queue = FeatureQueue(4, WIDTH, torch.Generator().manual_seed(0))
    keys = torch.nn.functional.normalize(drawn(4, WIDTH), dim=1)
    before = info_nce(keys, keys, queue.features_QD, 0.2)
    queue.stage(keys)
    assert torch.equal(info_nce(keys, keys, queue.features_QD, 0.2), before)
    queue.commit(torch.tensor(True))
    assert float(info_nce(keys, keys, queue.features_QD, 0.2)) > float(before)


def test_regression_reaches_from_0_to_4() -> None:
    rows = drawn(3, WIDTH)
    assert float(cosine_regression(rows, 5 * rows)) == pytest.approx(0.0, abs=1e-12)
    assert float(cosine_regression(rows, -rows)) == pytest.approx(3 * 4.0)


def test_uniform_logits_give_the_logarithm_of_the_prototypes() -> None:
    teacher, student = torch.zeros(3, GLOBAL, 50), torch.zeros(3, VIEWS, 50)
    loss = self_distilled(teacher, student, torch.zeros(50))
    pairs = num_view_pairs(3, GLOBAL, VIEWS)
    assert pairs == 3 * 2 * 3
    assert float(loss) / pairs == pytest.approx(math.log(50), rel=1e-6)


def test_half_precision_is_widened_before_anything_is_summed() -> None:
    one, other = drawn(*FLAT).bfloat16(), drawn(*FLAT, seed=1).bfloat16()
    viewed = drawn(*VIEWED).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = [nt_xent(one, other, 0.1), info_nce(one, other, QUEUE, 0.1), cosine_regression(one, other)]
        inside.append(self_distilled(viewed[:, :GLOBAL], viewed, CENTRE.float()))
        inside.append(sinkhorn(viewed[:, 0], epsilon=0.5, iterations=3).sum())
    one, other, viewed = one.float(), other.float(), viewed.float()
    outside = [nt_xent(one, other, 0.1), info_nce(one, other, QUEUE.float(), 0.1), cosine_regression(one, other)]
    outside.append(self_distilled(viewed[:, :GLOBAL], viewed, CENTRE.float()))
    outside.append(sinkhorn(viewed[:, 0], epsilon=0.5, iterations=3).sum())
    for here, there in zip(inside, outside, strict=True):
        assert float(here) == pytest.approx(float(there), rel=1e-6)
