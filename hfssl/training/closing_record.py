"""What the closing steps of a run could not make, and which of their files are missing: closing.json of the run folder."""

from dataclasses import dataclass, field

from hfssl.run_dir import RunDir

PAGES = ("report", "card")


@dataclass(frozen=True)
class ClosingRecord:
    """How the closing steps of a run ended.

    failed: part -> type of the error; is_over: whether the last of them was tried.
    """

    failed: dict[str, str] = field(default_factory=dict)
    is_over: bool = True


def read_record(run_dir: RunDir) -> ClosingRecord:
    """The record of a run; that of a run without failures where nothing is recorded."""
    content = run_dir.read_closing()
    failed = content.get("failed")
    if not isinstance(failed, dict):
        return ClosingRecord()
    return ClosingRecord({str(part): str(kind) for part, kind in failed.items()}, content.get("is_over") is not False)


def write_record(run_dir: RunDir, record: ClosingRecord) -> None:
    run_dir.write_closing({"failed": record.failed, "is_over": record.is_over})


def is_closed(run_dir: RunDir) -> bool:
    """Whether all closing steps of a finished run were tried, and none failed."""
    record = read_record(run_dir)
    return record.is_over and not record.failed


def missing_parts(run_dir: RunDir) -> list[str]:
    """The closing parts that a finished run lacks: those that failed, were not tried, or whose file is gone."""
    record = read_record(run_dir)
    files = {"export": run_dir.export, "report": run_dir.report_file, "card": run_dir.card_file}
    gone = [part for part, path in files.items() if not path.exists()]
    return list(dict.fromkeys([*record.failed, *gone, *(() if record.is_over else PAGES)]))
