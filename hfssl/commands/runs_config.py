"""What `hfssl runs` can be told."""

from dataclasses import dataclass
from typing import Literal

from hfssl.config.fields import option


@dataclass(frozen=True, kw_only=True)
class RunsConfig:
    folder: str = option("runs", "folder that holds run folders")
    sort: Literal["changed", "name", "method", "data", "steps", "knn", "linear", "score", "time", "state"] = option(
        "changed", "column to sort by: the latest, the best or the largest first, words from a to z"
    )
