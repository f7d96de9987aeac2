"""The texts of a source, one after the other, in memory that does not grow with the source."""

from collections.abc import Iterator

from hfssl.data.source import Source

_BLOCK_BYTES = 8_000_000
_MOST_ROWS = 4096


def text_bytes(source: Source) -> int:
    """About how many bytes of UTF-8 the texts have."""
    table = source.rows.data
    return int(table.nbytes * len(source) / max(1, table.num_rows))


def texts(source: Source, every: int = 1) -> Iterator[str]:
    """The text of each row, or of each `every`-th; an empty one where a row holds none."""
    mean_bytes = max(1, text_bytes(source) // max(1, len(source)))
    block = min(_MOST_ROWS, max(1, _BLOCK_BYTES // mean_bytes)) * every
    tables = source.rows.with_format("arrow")
    for start in range(0, len(source), block):
        column = tables[slice(start, start + block, every)][source.column]
        for text in column:
            yield text.as_py() or ""
