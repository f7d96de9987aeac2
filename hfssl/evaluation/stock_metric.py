"""The base class of Hugging Face `evaluate`, kept in memory.

`python recipes/x.py` puts recipes/ in front of the search path, where recipes/evaluate.py would be found for the library:
folders with such a script are passed over while the library is imported.
"""

import sys
from pathlib import Path
from typing import Any

_searched = sys.path[:]
sys.path[:] = [folder for folder in _searched if not (Path(folder) / "evaluate.py").is_file()]
try:
    from evaluate import Metric, MetricInfo
finally:
    sys.path[:] = _searched

__all__ = ["Metric", "MetricInfo", "StockMetric"]


class StockMetric(Metric):
    """A metric that asks no Hub and shares no file, so that any number of processes can compute it at once."""

    def __init__(self, keep_in_memory: bool = True, **settings: Any) -> None:
        super().__init__(keep_in_memory=keep_in_memory, **settings)

    def _build_data_dir(self) -> str:
        """In memory no folder is needed, and none is made below the home folder."""
        return str(self._data_dir_root if self.keep_in_memory else super()._build_data_dir())
