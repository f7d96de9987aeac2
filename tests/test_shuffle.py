"""Shuffling and split statistics: a sample sees its own split alone, and the shuffle itself changes nothing."""

import pytest
import torch
from torch import Tensor, nn

from hfssl.errors import ConfigError
from hfssl.methods.moco.shuffle import keyed_shuffle
from hfssl.nn.batch_norm import CrossRankBatchNorm, SplitBatchNorm, across_ranks, split_statistics
from hfssl.randomness import sample_keys
from tests.support.ranks import Ranks

NUM = 16


def rows_and_keys() -> tuple[Tensor, Tensor]:
    rows = torch.randn(NUM, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 5
    return rows, sample_keys(0, torch.zeros(NUM, dtype=torch.int64), torch.arange(NUM))


def split_norm(num_splits: int) -> SplitBatchNorm:
    module = split_statistics(nn.Sequential(nn.BatchNorm2d(3, momentum=0.3)), num_splits)
    assert type(module[0]) is SplitBatchNorm
    return module[0].double()


def shuffled_and_split(num_splits: int) -> dict[str, Tensor]:
    """What this rank's share of 16 samples becomes, by name."""
    from accelerate import PartialState

    from hfssl.distributed import rank, world_size

    PartialState(cpu=True)
    rows, keys = rows_and_keys()
    share = NUM // world_size()
    mine = slice(rank() * share, (rank() + 1) * share)
    shuffle = keyed_shuffle(keys[mine])
    norm = split_norm(num_splits)
    inputs = rows[mine].clone().requires_grad_(True)
    plain = norm(inputs)
    (
        plain.square() * torch.arange(share, dtype=torch.float64)[:, None, None, None].add(rank() * share)
    ).sum().backward()
    buffers = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    shuffled = shuffle.do(rows[mine])
    return buffers | {
        "order": shuffle.order_N,
        "plain": plain.detach(),
        "gradient": inputs.grad,
        "moved": shuffled,
        "there_and_back": shuffle.undo(shuffled * 2 + 1),
        "normalised": shuffle.undo(norm(shuffled)).detach(),
    }


def test_undone_the_shuffle_changes_nothing_but_what_batch_norm_sees() -> None:
    rows, _ = rows_and_keys()
    alone = shuffled_and_split(8)
    assert sorted(alone["order"].tolist()) == list(range(NUM))
    assert torch.equal(alone["moved"], rows[alone["order"]])
    assert torch.equal(alone["there_and_back"], rows * 2 + 1)
    assert not torch.allclose(alone["normalised"], alone["plain"], atol=1e-3)
    other = sample_keys(0, torch.ones(NUM, dtype=torch.int64), torch.arange(NUM))
    assert not torch.equal(keyed_shuffle(other).order_N, alone["order"])


def test_two_ranks_shuffle_and_split_like_one_process(ranks: Ranks) -> None:
    alone = shuffled_and_split(8)
    first, second = ranks.two(shuffled_and_split, 8)
    for name, whole in alone.items():
        if name in ("order", "running_mean", "running_var", "num_batches_tracked"):
            assert torch.equal(first[name], second[name])
            assert torch.allclose(first[name], whole, rtol=1e-12)
        else:
            assert torch.allclose(torch.cat([first[name], second[name]]), whole, rtol=1e-12, atol=1e-12), name


def test_a_split_is_normalised_by_itself_as_on_a_device_of_its_own() -> None:
    rows, _ = rows_and_keys()
    outputs = split_norm(4)(rows)
    for split, normalised in zip(rows.chunk(4), outputs.chunk(4), strict=True):
        assert torch.allclose(nn.BatchNorm2d(3).double()(split), normalised)
    changed = rows.clone()
    changed[4:] += 100.0
    assert torch.equal(split_norm(4)(changed)[:4], outputs[:4])
    assert torch.allclose(split_norm(1)(rows), CrossRankBatchNorm(3).double()(rows))


def test_running_moments_are_the_mean_over_splits_and_normalise_in_eval_mode() -> None:
    rows, _ = rows_and_keys()
    norm, stock = split_norm(4), nn.BatchNorm2d(3, momentum=0.3).double()
    norm(rows)
    means = torch.stack([split.mean(dim=(0, 2, 3)) for split in rows.chunk(4)]).mean(dim=0)
    variances = torch.stack([split.transpose(0, 1).flatten(1).var(dim=1) for split in rows.chunk(4)]).mean(dim=0)
    assert torch.allclose(norm.running_mean, 0.3 * means)
    assert torch.allclose(norm.running_var, 0.7 + 0.3 * variances)
    stock.load_state_dict(norm.state_dict())
    assert torch.allclose(norm.eval()(rows), stock.eval()(rows))


def test_replaced_norms_keep_names_tensors_and_what_is_frozen() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4, momentum=0.3)))
    model[1][0].bias.requires_grad_(False)
    model(torch.randn(8, 3, 2, 2))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for replaced in (across_ranks(model), split_statistics(model, 2), split_statistics(model, 4)):
        assert replaced.state_dict().keys() == before.keys()
        assert all(torch.equal(tensor, before[name]) for name, tensor in replaced.state_dict().items())
        assert not replaced[1][0].bias.requires_grad
        assert replaced[1][0].momentum == 0.3
    assert model[1][0].num_splits == 4
    assert across_ranks(model)[1][0].num_splits == 4  # splits are meant


def test_splits_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(ConfigError, match="3 splits of a BatchNorm do not fit 16 samples"):
        split_norm(3)(rows_and_keys()[0])
    with pytest.raises(ConfigError, match="must be a multiple of the 1 process"):
        split_norm(0)
