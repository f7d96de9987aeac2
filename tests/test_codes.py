"""Sinkhorn codes and the centre: equal to the papers, and the same on two ranks as on one."""

import pytest
import torch
from torch import Tensor

from hfssl.methods.dino.centre import Centre
from hfssl.methods.swav.sinkhorn import sinkhorn
from tests.support.ranks import Ranks
from tests.test_losses import GLOBAL, PROTOTYPES, QUEUE, VIEWED, drawn, self_distilled


def sinkhorn_of_the_paper(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Diag(u) exp(C^T Z / epsilon) Diag(v), normalised entry by entry."""
    plan = torch.exp(scores.T / epsilon)
    plan = plan / plan.sum()
    for _ in range(iterations):
        for k in range(plan.shape[0]):
            plan[k] = plan[k] / plan[k].sum() / plan.shape[0]
        for b in range(plan.shape[1]):
            plan[:, b] = plan[:, b] / plan[:, b].sum() / plan.shape[1]
    return (plan * plan.shape[1]).T


def cosines(samples: int) -> Tensor:
    return torch.nn.functional.normalize(drawn(samples, 4, seed=5), dim=1) @ QUEUE[:PROTOTYPES, :4].T


def test_codes_equal_the_papers_and_use_all_prototypes_equally() -> None:
    scores = cosines(40)
    assert torch.allclose(sinkhorn(scores, epsilon=0.05, iterations=3), sinkhorn_of_the_paper(scores, 0.05, 3))
    codes = sinkhorn(scores, epsilon=0.05, iterations=300)
    assert torch.allclose(codes.sum(dim=1), torch.ones(40, dtype=torch.float64))
    assert torch.allclose(codes.sum(dim=0), torch.full((PROTOTYPES,), 40 / PROTOTYPES, dtype=torch.float64), rtol=1e-3)
    assert not codes.requires_grad
    lone = torch.full((4, 2), -1.0)
    lone[:, 0] = 1.0
    assert bool(sinkhorn(lone, epsilon=0.01, iterations=3).isfinite().all())  # exp(100) is infinite in float32


@pytest.mark.parametrize("epsilon", [0.05, 0.01, 0.001])
def test_codes_of_opposite_samples_and_prototypes_are_those_of_float64(epsilon: float) -> None:
    scores = cosines(12).float()
    scores[3] = -1.0 - 1e-3 * torch.arange(PROTOTYPES)  # a sample opposite to every prototype
    scores[:, 2] = -1.0  # a prototype opposite to every sample
    codes = sinkhorn(scores, epsilon=epsilon, iterations=3)
    log_codes = scores.double() / epsilon
    for _ in range(3):
        log_codes = log_codes - log_codes.logsumexp(dim=0)
        log_codes = log_codes - log_codes.logsumexp(dim=1, keepdim=True)
    assert bool(codes.isfinite().all())
    assert torch.allclose(codes.sum(dim=1), torch.ones(12))
    assert torch.allclose(codes.double(), log_codes.exp(), atol=1e-3)


def codes_of(sizes: list[int]) -> tuple[Tensor, Tensor]:
    """This rank's codes of 12 samples, without and with a queue of 5 rows that all ranks share."""
    from accelerate import PartialState

    from hfssl.distributed import rank

    PartialState(cpu=True)
    start = sum(sizes[: rank()])
    scores = cosines(17)
    mine = scores[start : start + sizes[rank()]]
    plain = sinkhorn(mine, epsilon=0.05, iterations=3)
    return plain, sinkhorn(mine, epsilon=0.05, iterations=3, queued_QK=scores[12:])


def test_codes_of_two_ranks_equal_those_of_the_joined_batch(ranks: Ranks) -> None:
    whole = codes_of([12])
    assert torch.allclose(whole[1], sinkhorn(cosines(17), epsilon=0.05, iterations=3)[:12])
    assert not torch.allclose(whole[0], whole[1], atol=1e-3)
    for sizes in ([6, 6], [9, 3]):
        first, second = ranks.two(codes_of, sizes)
        for part in (0, 1):
            assert torch.allclose(torch.cat([first[part], second[part]]), whole[part], rtol=1e-12)


def centre_after(sizes: list[int]) -> Tensor:
    """The centre after a step of two micro-batches, a skipped one, and another."""
    from accelerate import PartialState

    from hfssl.distributed import rank

    PartialState(cpu=True)
    start = sum(sizes[: rank()])
    mine = slice(start, start + sizes[rank()])
    centre = Centre(PROTOTYPES).double()
    for logits, applied in ((drawn(4, 8, PROTOTYPES), True), (drawn(2, 8, PROTOTYPES) * torch.nan, False)):
        for micro_batch in logits:
            centre.stage(micro_batch[mine])
        centre.commit(torch.tensor(applied))
    centre.commit(torch.tensor(True))  # nothing was staged
    return centre.centre_K


def test_centre_follows_the_mean_of_the_whole_step_on_all_ranks(ranks: Ranks) -> None:
    expected = 0.1 * drawn(4, 8, PROTOTYPES).flatten(0, 1).mean(dim=0)
    assert torch.allclose(centre_after([8]), expected)
    first, second = ranks.two(centre_after, [5, 3])
    assert torch.equal(first, second)
    assert torch.allclose(first, expected)


def test_the_next_loss_is_the_same_after_saving_and_loading_the_centre() -> None:
    centre, loaded = Centre(PROTOTYPES), Centre(PROTOTYPES)
    centre.stage(drawn(8, PROTOTYPES).float())
    centre.commit(torch.tensor(True))
    loaded.load_state_dict(centre.state_dict())
    logits = drawn(*VIEWED).float()
    losses = [self_distilled(logits[:, :GLOBAL], logits, module.centre_K) for module in (centre, loaded)]
    assert torch.equal(*losses)
    assert not torch.equal(losses[0], self_distilled(logits[:, :GLOBAL], logits, torch.zeros(PROTOTYPES)))
