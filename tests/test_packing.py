"""Rows hold every token once, never more than they can, and hardly any room is left in them."""

import pickle

import numpy as np
import pytest
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from hfssl.data.source import Source
from hfssl.data.texts.packing import PackingPlan, best_fit, one_a_row, packed_rows, packing_plan, pieces
from hfssl.data.texts.token_cache import Array, CachedTokens, tokens_of


def lengths_of(kind: str, count: int, seed: int = 0) -> Array:
    generator = np.random.default_rng(seed)
    if kind == "prose":
        return np.maximum(1, generator.lognormal(5.0, 1.2, count)).astype(np.int64)
    if kind == "sentences":
        return generator.integers(3, 40, count)
    return generator.integers(0, 300, count)


def naive_best_fit(lengths: list[int], capacity: int) -> list[int]:
    """Rooms left, by the textbook: the longest first, each into the fullest row that still takes it."""
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        enough = [row for row, room in enumerate(rooms) if room >= length]
        if not enough:
            rooms.append(capacity)
            enough = [len(rooms) - 1]
        rooms[min(enough, key=lambda row: rooms[row])] -= length
    return sorted(rooms)


@pytest.mark.parametrize("capacity", [8, 31, 128])
def test_rows_are_those_of_the_textbook(capacity: int) -> None:
    for seed in range(8):
        lengths_P = np.random.default_rng(seed).integers(1, capacity + 1, 200)
        if seed % 2:
            lengths_P = np.minimum(lengths_P, capacity // 3)
        row_P = best_fit(lengths_P, capacity)
        rooms = capacity - np.bincount(row_P, weights=lengths_P).astype(int)
        assert sorted(rooms.tolist()) == naive_best_fit(lengths_P.tolist(), capacity)


@pytest.mark.parametrize("kind", ["prose", "sentences", "with empty ones"])
@pytest.mark.parametrize("per_piece", [0, 2])
def test_no_token_is_lost_or_doubled_and_no_row_overflows(kind: str, per_piece: int) -> None:
    lengths_N = lengths_of(kind, 2_000)
    for plan in (packed_rows(lengths_N, 128, per_piece), one_a_row(lengths_N, 128, per_piece)):
        found = np.zeros(int(lengths_N.sum()), dtype=np.int64)
        offsets_N = np.cumsum(lengths_N) - lengths_N
        for index in range(len(plan)):
            documents, starts, lengths = plan.row(index)
            assert 0 < lengths.sum() + per_piece * len(lengths) <= 128
            for document, start, length in zip(documents, starts, lengths, strict=True):
                assert 0 <= start < start + length <= lengths_N[document]
                found[offsets_N[document] + start : offsets_N[document] + start + length] += 1
        assert found.min() == found.max() == 1


def test_few_rows_are_needed() -> None:
    for kind in ("prose", "sentences"):
        for capacity in (64, 128, 512, 2048):
            lengths_N = lengths_of(kind, 20_000)
            ideal = lengths_N.sum() / capacity
            assert ideal <= len(packed_rows(lengths_N, capacity)) <= 1.05 * ideal + 1


def test_a_document_that_goes_on_does_so_in_another_row() -> None:
    plan = packed_rows(lengths_of("prose", 3_000), 128, 2)
    row_P = np.repeat(np.arange(len(plan)), np.diff(plan.row_offsets))
    pairs = list(zip(plan.documents.tolist(), row_P.tolist(), strict=True))
    assert len(pairs) == len(set(pairs)) > len(set(plan.documents.tolist()))


def test_pieces_are_consecutive_and_full_but_for_the_last() -> None:
    document_P, start_P, length_P = pieces(np.array([5, 0, 10, 11, 1]), 5)
    assert document_P.tolist() == [0, 2, 2, 3, 3, 3, 4]
    assert start_P.tolist() == [0, 0, 5, 0, 5, 10, 0]
    assert length_P.tolist() == [5, 5, 5, 5, 5, 1, 1]
    assert {document_P.dtype, start_P.dtype, length_P.dtype} == {np.dtype(np.int64)}


def test_without_packing_rows_follow_the_documents() -> None:
    plan = one_a_row(np.array([3, 0, 12]), 7, 2)
    rows = [tuple(part.tolist() for part in plan.row(index)) for index in range(len(plan))]
    assert rows == [([0], [0], [3]), ([2], [0], [5]), ([2], [5], [5]), ([2], [10], [2])]


def test_no_documents_are_no_rows() -> None:
    assert len(packed_rows(np.zeros(3, dtype=np.int64), 8)) == len(one_a_row(np.zeros(0, dtype=np.int64), 8)) == 0


def test_a_piece_that_no_row_can_hold_is_refused() -> None:
    for lengths in ([3, 9], [0, 3]):
        with pytest.raises(ValueError, match=r"lengths must be in \[1, 8\]"):
            best_fit(np.array(lengths), 8)


@pytest.fixture
def tokens() -> CachedTokens:
    backend = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    rows = Dataset.from_dict({"text": ["b " * int(length) for length in lengths_of("sentences", 300)]})
    source = Source("texts", "train", rows, "text", None, None, rows)
    return tokens_of(source, PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="a"))


def same(one: PackingPlan, other: PackingPlan) -> bool:
    return all(
        np.array_equal(mine, yours)
        for mine, yours in (
            (one.row_offsets, other.row_offsets),
            (one.documents, other.documents),
            (one.starts, other.starts),
            (one.lengths, other.lengths),
        )
    )


def test_a_plan_is_kept_beside_the_tokens_and_made_anew_where_damaged(
    tokens: CachedTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = packing_plan(tokens, capacity=64, per_piece=2)
    assert same(plan, packed_rows(lengths_of("sentences", 300), 64, 2))
    sent = pickle.dumps(plan)
    assert len(sent) < 1_000
    assert same(pickle.loads(sent), plan)
    assert plan.folder is not None
    file = plan.folder / "starts.npy"
    file.write_bytes(file.read_bytes()[:-1])
    assert same(packing_plan(tokens, capacity=64, per_piece=2), packed_rows(lengths_of("sentences", 300), 64, 2))
    single = packing_plan(tokens, capacity=64, per_piece=2, packed=False)
    assert same(single, one_a_row(lengths_of("sentences", 300), 64, 2))
    assert (
        len({len(plan), len(single), len(packing_plan(tokens, capacity=32)), len(packing_plan(tokens, capacity=64))})
        == 4
    )
    monkeypatch.setattr("hfssl.data.texts.packing.packed_rows", None)
    assert len(packing_plan(tokens, capacity=64, per_piece=2)) == len(plan)
