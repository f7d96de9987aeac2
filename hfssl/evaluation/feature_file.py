"""Features as a Parquet file, for search engines, data frames and `datasets`. N rows, K neighbours, D width."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from hfssl.run_dir import JsonView

ROW_GROUP = 8192


def write_features(path: Path, columns: JsonView, facts: JsonView) -> None:
    """Write one column for each entry, so that a reader sees the old file or the new, never half of it.

    Args:
        columns: (N,) arrays or lists, None for a missing value, or (N, width) arrays, which become fixed-size lists.
        facts: stored as JSON in the schema's metadata under the key `hfssl`.
    """
    table = pyarrow.table({name: _column(values) for name, values in columns.items()})
    table = table.replace_schema_metadata({"hfssl": json.dumps(dict(facts))})
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        pyarrow.parquet.write_table(table, unfinished, row_group_size=ROW_GROUP, use_dictionary=False)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _column(values: Any) -> Any:
    if isinstance(values, np.ndarray) and values.ndim == 2:
        return pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(values.reshape(-1)), values.shape[1])
    return pyarrow.array(values)
