"""The base class of Hugging Face `evaluate`, kept in memory."""

from typing import Any

from evaluate import Metric, MetricInfo

__all__ = ["Metric", "MetricInfo", "StockMetric"]


class StockMetric(Metric):
    """A metric that asks no Hub and shares no file, so that any number of processes can compute it at once."""

    def __init__(self, keep_in_memory: bool = True, **settings: Any) -> None:
        super().__init__(keep_in_memory=keep_in_memory, **settings)

    def _build_data_dir(self) -> str:
        """In memory no folder is needed, and none is made below the home folder."""
        return str(self._data_dir_root if self.keep_in_memory else super()._build_data_dir())
