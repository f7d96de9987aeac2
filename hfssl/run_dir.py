"""The run folder: the only place that knows the names of the files inside it.

config.yaml  environment.json  metrics.jsonl  processor/  checkpoints/step_00001000/  export/  eval/*.json  figures/*.png
report.html  README.md  closing.json  closing.log
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hfssl.errors import ConfigError, one_line
from hfssl.limited_yaml import parsed_yaml
from hfssl.run_lock import LOCK, is_locked

Json = dict[str, Any]
"""An object as the files of a run hold it: the settings of a section, a row of metrics, an evaluation."""

JsonView = Mapping[str, Any]
"""The same, only read."""

RUNS = Path("runs")
LAYOUT = 2  # of a run folder, `layout` in its config.yaml; raised where an older folder can no longer be read
_FOLDERS = ("checkpoints", "export", "processor", "eval", "figures", "tensorboard")
_FILES = (LOCK, "environment.json", "metrics.jsonl", "closing.json", "closing.log", "report.html", "README.md")
_UNFINISHED = ".*.*.tmp"  # what `write_text` writes to
_CHECKPOINT = re.compile(r"step_(\d{8,})")
_SUMMARY = "summary"
LABEL_STUDY = "label_study"  # the name of a study's figures, eval/label_study.json and figures/label_study.png


class LayoutError(ConfigError):
    """A run folder that another version of hfssl made."""


@dataclass(frozen=True)
class RunDir:
    """One run's folder; nothing is created before it is written."""

    path: Path

    @property
    def config_file(self) -> Path:
        return self.path / "config.yaml"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def export(self) -> Path:
        return self.path / "export"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def processor(self) -> Path:
        return self.path / "processor"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def report_file(self) -> Path:
        return self.path / "report.html"

    @property
    def card_file(self) -> Path:
        return self.path / "README.md"

    def write_config(self, sections: Json) -> None:
        write_text(self.config_file, yaml.safe_dump(sections, sort_keys=False, allow_unicode=True))

    def is_run(self) -> bool:
        """Whether this is the folder of a run. Every command that takes a run folder asks here.

        Raises:
            LayoutError: another version of hfssl made it.
            ConfigError: its config.yaml cannot be read, or one of its files is a folder, or the reverse.
        """
        is_run = self.config_file.is_file() and "recipe" in self.read_config()
        if is_run:
            self._check_kinds()
        return is_run

    def _check_kinds(self) -> None:
        """Raise ConfigError where a file stands in the place of a folder, or the reverse."""
        for names, is_right, right in ((_FOLDERS, Path.is_dir, "folder"), (_FILES, Path.is_file, "file")):
            for path in (self.path / name for name in names):
                if path.exists() and not is_right(path):
                    raise ConfigError(f"{path} must be a {right} and is none: move it away")

    def check_layout(self) -> None:
        """Raise LayoutError where another version of hfssl made this run; a folder of something else passes."""
        self.is_run()

    def read_config(self) -> Json:
        """The content of config.yaml; raises what `is_run` raises."""
        config = _stored(self.config_file)
        problem = _other_layout(config)
        if problem is not None:
            raise LayoutError(f"{self.path} {problem}")
        return config

    @property
    def closing_log(self) -> Path:
        return self.path / "closing.log"

    def write_closing(self, record: Json) -> None:
        write_text(self.path / "closing.json", json.dumps(record, indent=1) + "\n")

    def read_closing(self) -> Json:
        """How the closing steps ended; empty where that is not recorded, or cannot be read."""
        try:
            return _mapping(self.path / "closing.json", json.loads)
        except ConfigError:
            return {}

    def write_environment(self, facts: Json) -> None:
        write_text(self.path / "environment.json", json.dumps(facts, indent=1) + "\n")

    def read_environment(self) -> Json:
        """Empty where the run never got as far as writing it."""
        file = self.path / "environment.json"
        return _mapping(file, json.loads) if file.is_file() else {}

    def append_metrics(self, row: Json) -> None:
        with self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def read_metrics(self) -> list[Json]:
        """All whole rows; the half-written last line of a killed run is left out."""
        if not self.metrics_file.is_file():
            return []
        with _readable(self.metrics_file):
            lines = self.metrics_file.read_text(encoding="utf-8").split("\n")
            rows: list[dict[str, Any]] = json.loads("[" + "\n,".join(lines[:-1]) + "]")  # an error names its line
            if not all(isinstance(row, dict) for row in rows):
                raise ValueError("a line is no object")
        return rows

    def training_rows(self) -> list[Json]:
        """The rows of metrics.jsonl that say how training went."""
        return list(filter(is_of_training, self.read_metrics()))

    def validation_rows(self) -> list[Json]:
        """The rows of metrics.jsonl that say what the model did on validation rows."""
        return list(filter(is_of_validation, self.read_metrics()))

    def drop_metrics_after(self, step: int) -> None:
        """Forget what was logged beyond the checkpoint that a resume starts from."""
        rows = [row for row in self.read_metrics() if row["step"] <= step]
        write_text(self.metrics_file, "".join(json.dumps(row) + "\n" for row in rows))

    def checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"step_{step:08d}"

    def checkpoint_steps(self) -> list[int]:
        """Steps of the checkpoint folders, whole or not, ascending."""
        if not self.checkpoints.is_dir():
            return []
        matches = (_CHECKPOINT.fullmatch(entry.name) for entry in self.checkpoints.iterdir() if entry.is_dir())
        return sorted(int(match[1]) for match in matches if match)

    def write_eval(self, name: str, content: Json) -> None:
        write_text(self.path / "eval" / f"{name}.json", json.dumps(content, indent=1) + "\n")

    def read_eval(self, name: str) -> Json:
        return _mapping(self.path / "eval" / f"{name}.json", json.loads)

    def eval_names(self) -> list[str]:
        """Names of the evaluations that were written, the results table among them."""
        return sorted(path.stem for path in (self.path / "eval").glob("*.json"))

    def forget_summary(self) -> None:
        """Mark the run as no longer finished."""
        (self.path / "eval" / f"{_SUMMARY}.json").unlink(missing_ok=True)

    def write_summary(self, content: Json) -> None:
        """The results table; its presence is what makes a run a finished one."""
        self.write_eval(_SUMMARY, content)

    def read_summary(self) -> Json | None:
        return self.read_eval(_SUMMARY) if self.is_finished() else None

    def is_in_use(self) -> bool:
        """Whether a process trains here now."""
        return is_locked(self.path)

    def is_finished(self) -> bool:
        return (self.path / "eval" / f"{_SUMMARY}.json").is_file()


def is_of_training(row: JsonView) -> bool:
    """Whether a row of metrics.jsonl has a loss of training; those of validation have none of their own."""
    return "loss" in row


def is_of_validation(row: JsonView) -> bool:
    """Whether a row of metrics.jsonl has `validation/...` keys."""
    return not is_of_training(row) and any(key.startswith("validation/") for key in row)


@contextlib.contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Inside, a file that is damaged raises ConfigError with its name."""
    try:
        yield
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{file} cannot be read ({one_line(error)}): mend or remove it") from error


def _stored(config_file: Path) -> Json:
    return _mapping(config_file, parsed_yaml)


def _other_layout(config: JsonView) -> str | None:
    """Why this version cannot open the run of a config.yaml; None where it can, or where the file is of something else."""
    layout = config.get("layout")
    if "recipe" not in config or layout == LAYOUT:
        return None
    if isinstance(layout, int) and layout > LAYOUT:
        return "was made by a later version of hfssl and cannot be opened: update hfssl"
    return "was made by an earlier version of hfssl and cannot be opened: start a new run"


def _mapping(file: Path, parse: Callable[[str], Any]) -> Json:
    with _readable(file):
        content = parse(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no mapping")
    return content


def forget_if_unused(run_dir: RunDir) -> None:
    """Remove the folder of a run that never got as far as its config."""
    with contextlib.suppress(OSError):
        if not _contents(run_dir.path):
            for unfinished in run_dir.path.glob(_UNFINISHED):
                discard(unfinished)
            (run_dir.path / LOCK).unlink(missing_ok=True)
            run_dir.path.rmdir()


def _contents(folder: Path) -> list[str]:
    """What a folder holds in addition to a lock and to files whose writer was killed."""
    unfinished = {path.name for path in folder.glob(_UNFINISHED)}
    return [path.name for path in folder.iterdir() if path.name != LOCK and path.name not in unfinished]


def discard(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it, where it can be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old content or the new, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    except OSError:
        discard(unfinished)
        raise


def why_not_usable(path: Path) -> str | None:
    """Why `path` cannot become or continue a run folder; None if it can."""
    if not path.exists():
        return None
    if not path.is_dir():
        return "is a file: name a folder"
    if not _contents(path):
        return None
    file = RunDir(path).config_file
    config = _stored(file) if file.is_file() else {}
    if "recipe" not in config:
        return "holds something that is not a run: name an empty or a new folder"
    return _other_layout(config)
