"""What `hfssl report` can be told."""

from dataclasses import dataclass

from hfssl.config.fields import option
from hfssl.errors import require


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    run: str | None = option(None, "run folder")

    def __post_init__(self) -> None:
        require(self.run is not None, "name the run folder with --run")
