"""Keyed randomness: the right generator, clean statistics, and an order in which nothing is lost."""

import numpy as np
import pytest
import torch
from scipy import stats

from hfssl import randomness
from hfssl.randomness import (
    DataOrder,
    combine,
    feistel_permutation,
    inverse_splitmix64,
    random_ranks,
    sample_keys,
    splitmix64,
    uniform,
)

NUM = 200_000


def test_splitmix64_gives_the_published_sequence() -> None:
    state, golden, outputs = 1234567, 0x9E3779B97F4A7C15, []
    for _ in range(3):
        outputs.append(int(splitmix64(torch.tensor([randomness._signed(state & (2**64 - 1))]))[0]) % 2**64)
        state += golden
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_tensor_and_integer_forms_agree() -> None:
    values = [0, 1, -1, 2**63 - 1, -(2**63), 123456789]
    assert splitmix64(torch.tensor(values)).tolist() == [randomness.splitmix64_int(value % 2**64) for value in values]


def keys(num: int, seed: int = 0, epoch: int = 0) -> torch.Tensor:
    return sample_keys(seed, torch.full((num,), epoch), torch.arange(num))


def test_uniform_draws_are_uniform_and_independent_of_neighbours_streams_epochs_and_seeds() -> None:
    draws = uniform(keys(NUM), "crop", 2).double().numpy()
    assert draws.min() >= 0
    assert draws.max() < 1
    counts = np.histogram(draws[:, 0], bins=256, range=(0, 1))[0]
    assert stats.chisquare(counts).pvalue > 1e-4
    others = {
        "the next draw": draws[:, 1],
        "the next sample": np.roll(draws[:, 0], 1),
        "another stream": uniform(keys(NUM), "flip", 1)[:, 0].double().numpy(),
        "another epoch": uniform(keys(NUM, epoch=1), "crop", 1)[:, 0].double().numpy(),
        "another seed": uniform(keys(NUM, seed=1), "crop", 1)[:, 0].double().numpy(),
    }
    for name, other in others.items():
        assert abs(np.corrcoef(draws[:, 0], other)[0, 1]) < 4.5 / NUM**0.5, name


def test_keys_do_not_collide() -> None:
    both = torch.cat([keys(NUM), keys(NUM, epoch=1), keys(NUM, seed=1)])
    assert len(both.unique()) == 3 * NUM


def test_a_draw_does_not_depend_on_the_batch_around_it() -> None:
    assert torch.equal(uniform(keys(8), "crop", 3)[5:6], uniform(keys(8)[5:6], "crop", 3))


def test_random_ranks_are_permutations_and_each_place_is_equally_likely() -> None:
    ranks = random_ranks(keys(50_000), "mask", 8)
    assert torch.equal(ranks.sort(dim=1).values, torch.arange(8).expand(50_000, 8))
    counts = torch.stack([(ranks == value).sum(dim=0) for value in range(8)]).numpy()
    assert stats.chisquare(counts.flatten()).pvalue > 1e-4


@pytest.mark.parametrize("largest_sorted", [10_000_000, 10])
def test_an_epoch_holds_every_row_once_and_the_next_another_order(
    largest_sorted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(randomness, "LARGEST_SORTED_EPOCH", largest_sorted)
    order = DataOrder(1000, seed=3)
    epochs, ids = order.at(torch.arange(2000))
    assert epochs.tolist() == [0] * 1000 + [1] * 1000
    assert sorted(ids[:1000].tolist()) == sorted(ids[1000:].tolist()) == list(range(1000))
    assert ids[:1000].tolist() != ids[1000:].tolist()
    assert abs(np.corrcoef(ids[:1000], np.arange(1000))[0, 1]) < 0.15
    one_by_one = [int(DataOrder(1000, seed=3).at(torch.tensor([position]))[1]) for position in (0, 999, 1000)]
    assert one_by_one == ids[[0, 999, 1000]].tolist()


@pytest.mark.parametrize("size", [1, 2, 3, 17, 256, 257, 5000])
def test_feistel_is_a_bijection_of_any_size(size: int) -> None:
    assert sorted(feistel_permutation(torch.arange(size), size, 42).tolist()) == list(range(size))


def test_combine_depends_on_order_and_every_value() -> None:
    assert len({combine(1, 2, 3), combine(3, 2, 1), combine(1, 2), combine(1, 2, 4), combine(0, 1, 2, 3)}) == 5


def test_every_output_of_splitmix64_leads_back_to_its_state() -> None:
    states = torch.cat([torch.tensor([0, 1, -1, 2**63 - 1, -(2**63)]), keys(1_000)])
    assert torch.equal(inverse_splitmix64(splitmix64(states)), states)
