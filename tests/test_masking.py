"""Keyed masks: the right share of the right tokens, words whole, and the sample's key alone decides."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from hfssl.methods.mlm.masking import corrupted, masked_positions_of, num_masked_positions
from hfssl.randomness import sample_keys, uniform

ROWS, LENGTH, RATIO = 8192, 128, 0.15  # a million tokens
VOCABULARY, MASK_ID = 30_000, 4


def keys(num: int, epoch: int = 0) -> Tensor:
    return sample_keys(0, torch.full((num,), epoch), torch.arange(num))


def rows(num: int = ROWS) -> tuple[Tensor, Tensor]:
    """(maskable, word starts): specials at both ends and between two documents, 0 to 40 pads, words as English has them."""
    generator = torch.Generator().manual_seed(1)
    place = torch.arange(LENGTH)
    ends_B1 = LENGTH - torch.randint(0, 40, (num, 1), generator=generator)
    cuts_B1 = torch.randint(5, 80, (num, 1), generator=generator)
    maskable_BT = (place > 0) & (place < ends_B1 - 1) & (place != cuts_B1)
    shares = torch.tensor([0.82, 0.10, 0.05, 0.02, 0.01])
    lengths_BW = torch.multinomial(shares, num * LENGTH, replacement=True, generator=generator).view(num, LENGTH) + 1
    starts_BT = torch.zeros(num, 6 * LENGTH, dtype=torch.bool).scatter(1, lengths_BW.cumsum(dim=1), True)
    return maskable_BT, starts_BT[:, :LENGTH]


def chosen_tokens(slots_BS: Tensor, used_BS: Tensor, length: int = LENGTH) -> Tensor:
    return torch.zeros(len(slots_BS), length, dtype=torch.bool).scatter(1, slots_BS, used_BS)


MASKABLE, STARTS = rows()


@pytest.mark.parametrize("starts", [None, STARTS], ids=["tokens", "words"])
def test_share_holds_on_a_million_tokens_and_no_special_or_pad_is_touched(starts: Tensor | None) -> None:
    slots, used = masked_positions_of(keys(ROWS), MASKABLE, RATIO, starts)
    chosen = chosen_tokens(slots, used)
    most = num_masked_positions(LENGTH, RATIO, whole_word=starts is not None)
    assert slots.shape == used.shape == (ROWS, most) == (ROWS, 20 if starts is None else 28)
    assert int(chosen.sum()) == int(used.sum())
    assert not (chosen & ~MASKABLE).any()
    assert int(chosen.sum()) / int(MASKABLE.sum()) == pytest.approx(RATIO, rel=0.005)
    counts, expected = chosen.sum(dim=1), RATIO * MASKABLE.sum(dim=1)
    longest = 1 if starts is None else 5
    assert ((counts - expected).abs() < longest).all()


@pytest.mark.parametrize("starts", [None, STARTS], ids=["tokens", "words"])
def test_every_position_is_as_likely(starts: Tensor | None) -> None:
    maskable = torch.ones_like(MASKABLE)
    chosen = chosen_tokens(*masked_positions_of(keys(ROWS), maskable, RATIO, starts))
    hits_T = chosen.sum(dim=0).double().numpy()
    # a word at the edge of the row is cut short by it, so chance alone is looked at between
    assert stats.chisquare(hits_T[10:-10]).pvalue > 1e-4
    halves = chosen[:, ::2].sum(dim=1).double(), chosen[:, 1::2].sum(dim=1).double()
    assert abs(float(halves[0].mean() / halves[1].mean()) - 1) < 0.02


def test_rounding_is_right_in_the_mean_and_never_above_the_slots() -> None:
    maskable = torch.zeros(20_000, 16, dtype=torch.bool)
    maskable[:, 3:6] = True  # 15 % of three tokens: 0.45
    slots, used = masked_positions_of(keys(20_000), maskable, RATIO)
    assert set(used.sum(dim=1).tolist()) == {0, 1}
    assert float(used.sum(dim=1).double().mean()) == pytest.approx(0.45, abs=0.015)
    assert set(slots[used].tolist()) == {3, 4, 5}
    full = masked_positions_of(keys(100), torch.ones(100, 100, dtype=torch.bool), 0.07)[1]
    assert num_masked_positions(100, 0.07) == 7  # 0.07 * 100 is 7.000000000000001
    assert full.sum(dim=1).tolist() == [7] * 100
    assert not masked_positions_of(keys(5), torch.zeros(5, 16, dtype=torch.bool), RATIO)[1].any()


@pytest.mark.parametrize("words", [False, True])
def test_a_mask_belongs_to_its_sample_alone(words: bool) -> None:
    maskable, starts = MASKABLE[:64], STARTS[:64] if words else None
    whole = masked_positions_of(keys(64), maskable, RATIO, starts)
    ids = torch.randint(5, VOCABULARY, (64, LENGTH))
    seen = corrupted(ids, *whole, keys(64), mask_id=MASK_ID, vocab_size=VOCABULARY)
    for row in (0, 17, 63):
        one = slice(row, row + 1)
        alone = masked_positions_of(keys(64)[one], maskable[one], RATIO, None if starts is None else starts[one])
        assert all(torch.equal(part[one], own) for part, own in zip(whole, alone, strict=True))
        own_seen = corrupted(ids[one], *alone, keys(64)[one], mask_id=MASK_ID, vocab_size=VOCABULARY)
        assert all(torch.equal(part[one], own) for part, own in zip(seen, own_seen, strict=True))
    other = chosen_tokens(*masked_positions_of(keys(64, epoch=1), maskable, RATIO, starts))
    overlap = (other & chosen_tokens(*whole)).sum() / other.sum()
    assert float(overlap) == pytest.approx(RATIO, abs=0.05)


def slow_whole_words(words: list[list[int]], order: list[int], ratio: float, start: float) -> set[int]:
    taken, total = set[int](), 0
    for number, index in enumerate(sorted(order, key=lambda index: len(words[index]))):
        if math.floor(ratio * (number + 1) + start) > math.floor(ratio * number + start):
            total += len(words[index])
            taken |= set(words[index]) if total <= num_masked_positions(LENGTH, ratio, whole_word=True) else set()
    return taken


def words_of(maskable: list[bool], starts: list[bool], segments: list[int]) -> list[list[int]]:
    words: list[list[int]] = []
    for place, usable in enumerate(maskable):
        if usable:
            joined = place > 0 and maskable[place - 1] and segments[place - 1] == segments[place] and not starts[place]
            if joined:
                words[-1].append(place)
            else:
                words.append([place])
    return words


def test_words_are_masked_whole_or_not_at_all_and_end_at_specials_and_pieces() -> None:
    num = 400
    generator = torch.Generator().manual_seed(2)
    starts = torch.rand(num, LENGTH, generator=generator) < 0.4  # words of 2.5 tokens, some of them long
    segments = (torch.arange(LENGTH) >= torch.randint(1, LENGTH, (num, 1), generator=generator)).to(torch.int64) + 1
    slots, used = masked_positions_of(keys(num), MASKABLE[:num], RATIO, starts, segments_BT=segments)
    chosen = chosen_tokens(slots, used)
    for row in range(num):
        words = words_of(MASKABLE[row].tolist(), starts[row].tolist(), segments[row].tolist())
        whole = [set(chosen[row, word].tolist()) for word in words]
        assert all(len(fates) == 1 for fates in whole)
    assert int(chosen.sum()) / int(MASKABLE[:num].sum()) == pytest.approx(RATIO, rel=0.01)


@pytest.mark.parametrize("boundary", ["special", "piece"])
def test_two_halves_of_a_word_across_a_boundary_are_masked_apart(boundary: str) -> None:
    maskable = torch.ones(200, 21, dtype=torch.bool)
    maskable[:, 10] = boundary != "special"
    starts = torch.zeros_like(maskable)
    segments = (torch.arange(21) > 10).to(torch.int64).expand(200, -1) + 1
    given = segments if boundary == "piece" else None
    chosen = chosen_tokens(*masked_positions_of(keys(200), maskable, 0.6, starts, segments_BT=given), length=21)
    halves = chosen[:, :10].all(dim=1), chosen[:, 11:].all(dim=1)
    assert torch.equal(chosen[:, :10].any(dim=1), halves[0])
    assert torch.equal(chosen[:, 11:].any(dim=1), halves[1])
    assert int((halves[0] ^ halves[1]).sum()) > 140  # one half without the other, in 80 %
    assert all(90 < int(half.sum()) < 150 for half in halves)


def test_whole_words_are_those_of_a_slow_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    num = 200
    generator = torch.Generator().manual_seed(3)
    starts = torch.rand(num, LENGTH, generator=generator) < 0.3
    ones = torch.ones_like(starts)

    def bits_of_words(keys_B: Tensor, stream: str, num_draws: int) -> Tensor:
        return (uniform(keys_B, stream, num_draws) * 2**24).to(torch.int64)

    monkeypatch.setattr("hfssl.methods.mlm.masking.random_bits", bits_of_words)
    chosen = chosen_tokens(*masked_positions_of(keys(num), ones, RATIO, starts))
    bits = bits_of_words(keys(num), "mask/order", LENGTH)
    phases = uniform(keys(num), "mask/start", 1)[:, 0].tolist()
    for row in range(num):
        words = words_of([True] * LENGTH, starts[row].tolist(), [1] * LENGTH)
        order = sorted(range(len(words)), key=lambda index: int(bits[row, index]))
        assert set(chosen[row].nonzero()[:, 0].tolist()) == slow_whole_words(words, order, RATIO, phases[row])


@pytest.mark.parametrize("length", [12, 24, 128])
def test_long_words_are_chosen_as_often_as_short_ones(length: int) -> None:
    lengths = [length // 4, 1, 2, 1, 3, 4, 1, 8]
    starts = torch.zeros(20_000, length, dtype=torch.bool)
    places = [place for place in np.cumsum([0, *lengths]).tolist() if place < length]
    starts[:, places] = True
    chosen = chosen_tokens(*masked_positions_of(keys(20_000), torch.ones_like(starts), RATIO, starts), length=length)
    for start, end in pairwise([*places, length]):
        if end - start <= 8:
            assert float(chosen[:, start].double().mean()) == pytest.approx(RATIO, abs=0.011), end - start  # 4 sigma


def test_a_word_for_which_there_is_no_room_is_left_out() -> None:
    starts = torch.zeros(200, 40, dtype=torch.bool)
    starts[:, [0, 37, 38, 39]] = True  # a word of 37 tokens, of which 12 could be masked
    slots, used = masked_positions_of(keys(200), torch.ones_like(starts), 0.1, starts)
    assert slots.shape[1] == 12
    assert bool((slots[used] >= 37).all())
    assert used.sum() > 20


def test_corruption_is_80_10_10_and_only_at_used_slots() -> None:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, VOCABULARY, (ROWS, LENGTH), generator=generator)
    slots, used = masked_positions_of(keys(ROWS), torch.ones_like(MASKABLE), 0.95)
    used = used & (torch.rand(used.shape, generator=generator) < 0.999)
    inputs, labels = corrupted(ids, slots, used, keys(ROWS), mask_id=MASK_ID, vocab_size=VOCABULARY)
    assert torch.equal(labels, torch.where(used, ids.gather(1, slots), -100))
    assert torch.equal(inputs[~chosen_tokens(slots, used)], ids[~chosen_tokens(slots, used)])
    seen, original = inputs.gather(1, slots)[used], ids.gather(1, slots)[used]
    masked, unchanged = seen == MASK_ID, seen == original
    assert float(masked.double().mean()) == pytest.approx(0.8, abs=0.005)
    assert float(unchanged.double().mean()) == pytest.approx(0.1, abs=0.005)
    random = seen[~masked & ~unchanged]
    assert len(random) / len(seen) == pytest.approx(0.1, abs=0.005)
    spread = np.histogram(random.numpy(), bins=100, range=(0, VOCABULARY))[0]
    assert stats.chisquare(spread).pvalue > 1e-4
    assert int(random.min()) < 40
    assert int(random.max()) > VOCABULARY - 40
    assert abs(np.corrcoef(random[1:].numpy(), random[:-1].numpy())[0, 1]) < 0.01


def test_other_keys_see_other_replacements() -> None:
    ids = torch.randint(5, VOCABULARY, (64, LENGTH), generator=torch.Generator().manual_seed(0))
    slots, used = masked_positions_of(keys(64), MASKABLE[:64], RATIO)
    first, second = (
        corrupted(ids, slots, used, keys(64, epoch=epoch), mask_id=MASK_ID, vocab_size=VOCABULARY)[0]
        for epoch in (0, 1)
    )
    same = (first == second).gather(1, slots)[used].double().mean()
    assert float(same) == pytest.approx(0.8**2 + 0.1**2, abs=0.05)
