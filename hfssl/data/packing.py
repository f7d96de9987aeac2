"""Which pieces of which documents share a row: one plan for a run, made without looking at a single token.

N documents, P pieces, R rows. A document longer than a row continues in the next one; none is cut off, none crosses another.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def pieces(lengths_N: Array, capacity: int) -> tuple[Array, Array, Array]:
    """(document, start, length) of each piece, int64: consecutive parts of at most `capacity` tokens; none of an empty one."""
    counts_N = -(-lengths_N // capacity)
    document_P = np.repeat(np.arange(len(lengths_N)), counts_N)
    number_P = np.arange(len(document_P)) - np.repeat(np.cumsum(counts_N) - counts_N, counts_N)
    start_P = number_P * capacity
    return document_P, start_P, np.minimum(capacity, lengths_N[document_P] - start_P)


def best_fit(lengths_P: Array, capacity: int) -> Array:
    """The row of each piece by best-fit decreasing: the longest first, each into the fullest row that still takes it.

    Johnson et al. 1974, "Worst-case performance bounds for simple one-dimensional packing algorithms". Rows are kept by the
    room that is left, and one integer has a bit for each such room, so that a search is one shift.
    """
    order_P = np.argsort(-lengths_P, kind="stable")
    row_P = np.empty(len(lengths_P), dtype=np.int64)
    rows_with_room: list[list[int]] = [[] for _ in range(capacity + 1)]
    rooms, num_rows = 0, 0
    for piece, length in zip(order_P.tolist(), lengths_P[order_P].tolist(), strict=True):
        larger = rooms >> length
        if larger:
            room = length + (larger & -larger).bit_length() - 1
            row = rows_with_room[room].pop()
            if not rows_with_room[room]:
                rooms ^= 1 << room
        else:
            room, row = capacity, num_rows
            num_rows += 1
        row_P[piece] = row
        if room > length:
            rows_with_room[room - length].append(row)
            rooms |= 1 << (room - length)
    return row_P


@dataclass(frozen=True)
class Plan:
    """Pieces in the order of their rows. offsets_R1: where each row begins among them, (R + 1,)."""

    offsets_R1: Array
    document_P: Array
    start_P: Array
    length_P: Array

    def __len__(self) -> int:
        return len(self.offsets_R1) - 1

    def row(self, index: int) -> list[tuple[int, int, int]]:
        """(document, start, length) of each piece of a row."""
        inside = slice(self.offsets_R1[index], self.offsets_R1[index + 1])
        columns = (self.document_P[inside], self.start_P[inside], self.length_P[inside])
        return list(zip(*(column.tolist() for column in columns), strict=True))

    def save(self, file: Path) -> None:
        columns = (self.document_P, self.start_P, self.length_P)
        with file.open("wb") as opened:
            np.savez(opened, offsets=self.offsets_R1, document=columns[0], start=columns[1], length=columns[2])

    @classmethod
    def load(cls, file: Path) -> "Plan":
        with np.load(file) as arrays:
            return cls(*(arrays[name] for name in ("offsets", "document", "start", "length")))


def plan_of(lengths_N: Array, capacity: int, *, extra: int, is_packed: bool) -> Plan:
    """Rows of at most `capacity` tokens, of which each piece takes `extra` for its special ones.

    Without packing a piece has its row alone; a long document still continues in others.
    """
    document_P, start_P, length_P = pieces(lengths_N.astype(np.int64), capacity - extra)
    row_P = best_fit(length_P + extra, capacity) if is_packed else np.arange(len(length_P))
    order_P = np.argsort(row_P, kind="stable")
    offsets_R1 = np.searchsorted(row_P[order_P], np.arange(int(row_P.max(initial=-1)) + 2))
    return Plan(offsets_R1, document_P[order_P], start_P[order_P], length_P[order_P])
