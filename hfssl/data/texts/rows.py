"""The texts of a source, one after the other, in memory that does not grow with the source."""

from collections.abc import Iterator, Sequence

from hfssl.data.source import Source

_BLOCK_BYTES = 8_000_000
_MOST_ROWS = 4096


def text_bytes(source: Source) -> int:
    """About how many bytes of UTF-8 the texts have."""
    table = source.rows.data
    return int(table.nbytes * len(source) / max(1, table.num_rows))


def texts(source: Source, every: int = 1, *, further: Sequence[str] = ()) -> Iterator[str]:
    """The text of each row, or of each `every`-th; an empty one where a row holds none.

    A row that is a list of words gives them with a blank between. Texts of the `further` columns follow, block by block.
    """
    mean_bytes = max(1, text_bytes(source) // max(1, len(source)))
    block = min(_MOST_ROWS, max(1, _BLOCK_BYTES // mean_bytes)) * every
    tables = source.rows.with_format("arrow")
    for start in range(0, len(source), block):
        chosen = slice(start, start + block, every)
        columns = [tables[chosen][source.column]]
        if further:
            rows = source.all_rows.with_format("arrow")[chosen]
            columns += [rows[name] for name in further]
        for column in columns:
            for text in column:
                yield _as_text(text.as_py())


def _as_text(value: str | list[str | None] | None) -> str:
    return " ".join(word for word in value if word) if isinstance(value, list) else value or ""
