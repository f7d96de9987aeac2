"""What recipes/export.py can be told."""

from dataclasses import dataclass

from hfssl.config import option, require


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    run: str | None = option(None, "run folder")
    step: int | None = option(None, "checkpoint to export (default: the newest whole one)")
    merge: bool = option(False, "of a run with --lora, the whole model with the adapter added to its weights")
    output_dir: str | None = option(
        None, "where to (default: export/ in the run folder, export-step_<N>/ with --step, export-merged/ with --merge)"
    )

    def __post_init__(self) -> None:
        require(self.run is not None, "name the run folder with --run")
