import pytest

from hfssl.nn.schedules import constant, cosine, linear, warmup_cosine


def test_ends_and_middle() -> None:
    assert [linear(progress, 2.0, 4.0) for progress in (0, 0.5, 1)] == [2.0, 3.0, 4.0]
    assert [cosine(progress, 2.0, 4.0) for progress in (0, 0.5, 1)] == pytest.approx([2.0, 3.0, 4.0])
    assert constant(0.3, 7.0) == 7.0


def test_warmup_rises_linearly_then_falls_to_zero() -> None:
    assert [warmup_cosine(progress, 0.2) for progress in (0.0, 0.1, 0.2, 1.0)] == pytest.approx([0, 0.5, 1, 0])
    assert warmup_cosine(0.0, 0.0) == 1.0
    falling = [warmup_cosine(0.2 + 0.08 * step, 0.2) for step in range(11)]
    assert falling == sorted(falling, reverse=True)


def test_does_not_leave_its_range_beyond_the_end() -> None:
    assert cosine(1.5, 1.0, 0.0) == 0.0
    assert linear(-1.0, 1.0, 0.0) == 1.0
