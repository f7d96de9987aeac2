"""Documents laid into rows of equal length without crossing: what a row holds is decided once, and kept on disk.

N documents, P pieces of them, R rows. A document that is longer than a row is cut, and each piece stands in a row of its
own or with pieces of other documents. Best-fit decreasing (Johnson 1973, "Near-optimal bin packing algorithms"): longest
first, each into the row that it fills best.
"""

from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from hfssl.data.cache_folder import is_sealed, made_once, seal
from hfssl.data.texts.token_cache import CachedTokens
from hfssl.objective import Array

FORMAT = 1  # of the files and of the rules: a new number leaves old plans alone
_ARRAYS = ("row_offsets", "documents", "starts", "lengths")


@dataclass(frozen=True)
class PackingPlan:
    """Which pieces stand in which row, and in what order; all int64.

    row_offsets: (R + 1,); row r holds the pieces row_offsets[r] to row_offsets[r + 1].
    documents, starts, lengths: (P,) each; piece p is tokens starts[p] to starts[p] + lengths[p] of its document.
    folder: where it is kept on disk, or None.
    """

    row_offsets: Array
    documents: Array
    starts: Array
    lengths: Array
    folder: Path | None = None

    def __len__(self) -> int:
        return len(self.row_offsets) - 1

    def __reduce__(self) -> tuple[object, ...]:
        if self.folder is not None:
            return _load, (self.folder,)  # a spawned worker maps the files itself
        return PackingPlan, (self.row_offsets, self.documents, self.starts, self.lengths)

    def row(self, index: int) -> tuple[Array, Array, Array]:
        """(documents, starts, lengths) of the pieces of one row, (K,) each."""
        pieces = slice(self.row_offsets[index], self.row_offsets[index + 1])
        return self.documents[pieces], self.starts[pieces], self.lengths[pieces]


def packing_plan(
    tokens: CachedTokens, *, capacity: int, per_piece: int = 0, per_document: int = 0, packed: bool = True
) -> PackingPlan:
    """The rows of all documents, kept with their tokens.

    Args:
        capacity: tokens of a row, less the special ones that stand in it once.
        per_piece: special tokens that each piece brings along; per_document: those that lengthen a document as a whole.
        packed: several documents a row; else one.
    """
    way = "packed" if packed else "single"
    folder = tokens.folder / f"plan-{way}-{capacity}-{per_piece}-{per_document}-v{FORMAT}"

    def write(unfinished: Path) -> None:
        made = packed_rows if packed else one_a_row
        _save(made(tokens.lengths + per_document, capacity, per_piece), unfinished)

    return _load(made_once(folder, is_sealed, write))


def packed_rows(lengths_N: Array, capacity: int, per_piece: int = 0) -> PackingPlan:
    """Rows filled by best fit; see `packing_plan`."""
    document_P, start_P, length_P = pieces(lengths_N, capacity - per_piece)
    return _plan(best_fit(length_P + per_piece, capacity), document_P, start_P, length_P)


def one_a_row(lengths_N: Array, capacity: int, per_piece: int = 0) -> PackingPlan:
    """Each piece a row of its own, in the order of documents; see `packing_plan`."""
    document_P, start_P, length_P = pieces(lengths_N, capacity - per_piece)
    return _plan(np.arange(len(length_P)), document_P, start_P, length_P)


def _plan(row_P: Array, document_P: Array, start_P: Array, length_P: Array) -> PackingPlan:
    order_P = np.argsort(row_P, kind="stable")
    row_offsets = np.concatenate([[0], np.cumsum(np.bincount(row_P))]).astype(np.int64)
    return PackingPlan(row_offsets, document_P[order_P], start_P[order_P], length_P[order_P])


def _save(plan: PackingPlan, folder: Path) -> None:
    for name, array in zip(_ARRAYS, (plan.row_offsets, plan.documents, plan.starts, plan.lengths), strict=True):
        np.save(folder / f"{name}.npy", array)
    seal(folder)


def _load(folder: Path) -> PackingPlan:
    row_offsets, documents, starts, lengths = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS)
    return PackingPlan(row_offsets, documents, starts, lengths, folder)


def pieces(lengths_N: Array, capacity: int) -> tuple[Array, Array, Array]:
    """Documents cut into consecutive pieces of at most `capacity` tokens: (document_P, start_P, length_P), int64.

    All but the last piece of a document are full; an empty document has none.
    """
    counts_N = -(-lengths_N // capacity)
    document_P = np.repeat(np.arange(len(lengths_N)), counts_N)
    first_P = np.repeat(np.cumsum(counts_N) - counts_N, counts_N)
    start_P = (np.arange(len(document_P)) - first_P) * capacity
    length_P = np.minimum(lengths_N[document_P] - start_P, capacity)
    return document_P, start_P, length_P.astype(np.int64)


def best_fit(lengths_P: Array, capacity: int) -> Array:
    """The row of each piece, (P,) int64: best-fit decreasing by capacity buckets, ties by the order of pieces.

    Pieces of one length go together: into the rows whose room is smallest but enough, as many into each as it holds.

    Raises:
        ValueError: a piece is longer than `capacity` or empty.
    """
    if len(lengths_P) and not 0 < int(lengths_P.min()) <= int(lengths_P.max()) <= capacity:
        raise ValueError(f"lengths must be in [1, {capacity}], got {lengths_P.min()} to {lengths_P.max()}")
    row_P = np.zeros(len(lengths_P), dtype=np.int64)
    order_P = np.argsort(-lengths_P, kind="stable")
    rooms = _Rooms(capacity)
    sorted_P = lengths_P[order_P]
    starts = [0, *(np.flatnonzero(np.diff(sorted_P)) + 1).tolist(), len(sorted_P)]
    for start, stop in pairwise(starts):
        while start < stop:
            rows = rooms.take(int(sorted_P[start]), stop - start)
            row_P[order_P[start : start + len(rows)]] = rows
            start += len(rows)
    return row_P


class _Rooms:
    """Open rows by the room that is left in them: blocks of rows for each room, first come, first served."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._num_rows = 0
        self._blocks: list[deque[Array]] = [deque() for _ in range(capacity + 1)]
        self._is_open = np.zeros(capacity + 1, dtype=bool)

    def take(self, length: int, config: int) -> Array:
        """The rows of at least one and at most `wanted` pieces of one length; a row for each piece."""
        room, rows = self._tightest(length, config)
        fit = room // length
        used = min(len(rows), -(-config // fit))
        self._put(rows[used:], room, first=True)
        taken = np.repeat(rows[:used], fit)[:config]
        in_last = len(taken) - (used - 1) * fit
        self._put(rows[: used - 1], room - fit * length)
        self._put(rows[used - 1 : used], room - in_last * length)
        return taken

    def _tightest(self, length: int, config: int) -> tuple[int, Array]:
        """(room, a block of rows) of the smallest room that is enough; new rows where there is none."""
        room = length + int(self._is_open[length:].argmax())
        if self._is_open[room]:
            blocks = self._blocks[room]
            rows = blocks.popleft()
            self._is_open[room] = bool(blocks)
            return room, rows
        count = -(-config // (self._capacity // length))
        self._num_rows += count
        return self._capacity, np.arange(self._num_rows - count, self._num_rows)

    def _put(self, rows: Array, room: int, first: bool = False) -> None:
        if room and len(rows):
            blocks = self._blocks[room]
            blocks.appendleft(rows) if first else blocks.append(rows)
            self._is_open[room] = True
