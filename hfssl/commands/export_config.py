"""What `hfssl export` can be told."""

from dataclasses import dataclass

from hfssl.config.fields import option
from hfssl.errors import require


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    run: str | None = option(None, "run folder")
    step: int | None = option(
        None, "checkpoint to export (default: the best on the validation rows where the run chose one, else the newest)"
    )
    merge: bool = option(False, "of a run that trained adapters, the whole model with them added to its weights")
    output_dir: str | None = option(
        None, "where to (default: export/ in the run folder, export-step_<N>/ with --step, export-merged/ with --merge)"
    )

    def __post_init__(self) -> None:
        require(self.run is not None, "name the run folder with --run")
