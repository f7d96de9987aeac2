"""Rows of windows: every recording is in one, hardly anything is padded, and long ones are cut elsewhere each epoch."""

import pickle

import numpy as np
import pytest
import torch

from hfssl.data.audio.windows import LEAST_SHARE, Array, WindowPlan, window_plan, window_start
from tests.support.interpreter import Interpreter

LONGEST, CAPACITY = 1_000, 5_600
PLANNED = """
import numpy
from hfssl.data.audio.windows import window_plan
lengths, longest, capacity = arguments
answer = window_plan(numpy.array(lengths), longest=longest, capacity=capacity, seed=0).digest()
"""


def lengths_of(kind: str, count: int = 3_000) -> Array:
    generator = np.random.default_rng(0)
    if kind == "speech":  # most near the longest window, as in read books
        return np.minimum(generator.normal(800, 250, count), 2_400).clip(100).astype(np.int64)
    if kind == "long":
        return generator.integers(LONGEST, 40 * LONGEST, count // 20)
    return generator.integers(100, 1_001, count)


def plan_for(lengths_N: Array, seed: int = 0) -> WindowPlan:
    return window_plan(lengths_N, longest=LONGEST, capacity=CAPACITY, seed=seed)


KINDS = ["speech", "long", "uniform"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_window_is_in_one_row(kind: str) -> None:
    lengths_N = lengths_of(kind)
    lengths_N[::7] = 0
    plan = plan_for(lengths_N)
    found = [window for row in range(len(plan)) for window in plan.row(row)]
    expected = [
        (recording, ordinal, min(length, LONGEST))
        for recording, length in enumerate(lengths_N.tolist())
        for ordinal in range(max(1, length // LONGEST) if length else 0)
    ]
    assert sorted(found) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_full_and_little_of_them_is_padding(kind: str) -> None:
    plan = plan_for(lengths_of(kind))
    rows = [[length for _, _, length in plan.row(index)] for index in range(len(plan))]
    for row, following in zip(rows, [*rows[1:], [0]], strict=True):
        assert len(row) * row[0] <= CAPACITY
        assert min(row) >= LEAST_SHARE * row[0]
        assert (len(row) + 1) * row[0] > CAPACITY or following[0] < LEAST_SHARE * row[0]
    padded = sum(len(row) * row[0] for row in rows)
    assert plan.padding_share == pytest.approx(1 - sum(map(sum, rows)) / padded)
    assert plan.padding_share < 0.03
    assert padded > 0.8 * len(rows) * CAPACITY


def test_little_is_padded_even_where_lengths_differ_a_lot() -> None:
    for seed in range(5):
        lengths_N = np.exp(np.random.default_rng(seed).uniform(np.log(20), np.log(1_000), 500)).astype(np.int64)
        assert plan_for(lengths_N).padding_share < 0.03


def test_a_plan_is_the_same_in_every_process_and_another_for_other_seeds(other_interpreter: Interpreter) -> None:
    plan = plan_for(lengths_of("long"))
    elsewhere = other_interpreter(PLANNED, lengths_of("long").tolist(), LONGEST, CAPACITY)
    assert elsewhere == plan.digest() == pickle.loads(pickle.dumps(plan)).digest()
    assert plan.digest() != plan_for(lengths_of("long"), seed=1).digest()


def test_windows_of_one_recording_are_spread_over_rows() -> None:
    plan = plan_for(np.full(50, 20 * LONGEST))
    assert max(len({recording for recording, _, _ in plan.row(row)}) for row in range(len(plan))) == 5
    assert np.mean([len({recording for recording, _, _ in plan.row(row)}) for row in range(len(plan))]) > 4.5


def test_nothing_usable_is_no_row() -> None:
    plan = plan_for(np.zeros(3, dtype=np.int64))
    assert len(plan) == 0
    assert plan.padding_share == 0


def starts(epoch: int, total: int, length: int = LONGEST, recording: int = 3) -> list[int]:
    key = torch.tensor(epoch)
    count = max(1, total // length)
    return [window_start(key, recording, ordinal, total=total, length=length) for ordinal in range(count)]


@pytest.mark.parametrize("total", [1_000, 1_001, 1_700, 2_000, 9_300])
def test_windows_of_a_recording_never_overlap_and_never_leave_it(total: int) -> None:
    for epoch in range(200):
        found = starts(epoch, total)
        assert found[0] >= 0
        assert found[-1] + LONGEST <= total
        assert all(np.diff(found) >= LONGEST)


def test_windows_move_between_epochs_and_recordings_and_reach_both_ends() -> None:
    firsts = [starts(epoch, 9_300)[0] for epoch in range(2_000)]
    assert min(firsts) == 0
    assert max(firsts) == 300
    assert np.mean(firsts) == pytest.approx(150, abs=10)
    assert starts(0, 9_300) == starts(0, 9_300)
    assert len({starts(0, 9_300, recording=number)[0] for number in range(20)}) > 10


def test_a_recording_that_is_shorter_than_its_header_said_is_cut_inside() -> None:
    key = torch.tensor(1)
    assert window_start(key, 0, 3, total=2_500, length=LONGEST) == 1_500
    assert window_start(key, 0, 0, total=400, length=LONGEST) == 0
