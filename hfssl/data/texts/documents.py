"""Which rows are documents: the texts of a column that hold anything."""

import numpy as np
import pyarrow.compute
from datasets import Dataset

from hfssl.distributed import is_main_process
from hfssl.errors import require

_BLOCK = 8192


def documents(rows: Dataset, column: str, name: str) -> Dataset:
    """`rows` without those whose text is missing, empty or white space; how many these are is printed.

    Args:
        name: what the rows are called in messages.

    Raises:
        ConfigError: none is left.
    """
    tables = rows.with_format("arrow")
    kept = []
    for start in range(0, len(rows), _BLOCK):
        trimmed = pyarrow.compute.utf8_trim_whitespace(tables[start : start + _BLOCK][column])
        filled = pyarrow.compute.greater(pyarrow.compute.binary_length(trimmed), 0)
        kept.append(pyarrow.compute.fill_null(filled, False).to_numpy())
    chosen = np.flatnonzero(np.concatenate(kept))
    if len(chosen) == len(rows):
        return rows
    require(len(chosen) > 0, f"all {len(rows)} texts of {name} are empty")
    if is_main_process():
        print(f"{len(rows) - len(chosen)} of {len(rows)} texts of {name} are empty and left out", flush=True)
    return rows.select(chosen)
