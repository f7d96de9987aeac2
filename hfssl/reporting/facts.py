"""The facts of a run folder, read once for report and card: every number here stands in one of its files."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from hfssl.evaluation.table import NOT_MEASURED
from hfssl.reporting.figure_kinds import in_order
from hfssl.run_dir import JsonView, RunDir, is_of_training, is_of_validation
from hfssl.training.closing_record import read_record

Row = JsonView
PRETRAINED = "pretrained"
SCORES = {"knn": "kNN", "linear": "linear probe", "few_labels": "few labels"}
BEFORE = ("untrained", "before this run")
_LONG_WAIT = 0.2


@dataclass(frozen=True)
class Facts:
    """A run as its folder describes it.

    config, environment: config.yaml and environment.json.
    training, validation: rows of metrics.jsonl, with a loss of training and with `validation/...` keys.
    summary: the results table, None in a run that is not finished; evaluations: name -> other eval/*.json.
    figures: PNG files of figures/ and eval/, in the order in which a page shows them.
    not_made: what the closing steps could not make, part -> type of the error.
    """

    config: JsonView
    environment: JsonView
    training: Sequence[Row]
    validation: Sequence[Row]
    summary: Row | None
    evaluations: Mapping[str, Row]
    figures: Sequence[Path]
    not_made: Mapping[str, str] = field(default_factory=dict)

    @property
    def recipe(self) -> str:
        return str(self.config["recipe"])

    @property
    def dataset(self) -> str:
        return str(self.config["data"]["dataset"])

    @property
    def modality(self) -> str:
        return str(self.config["modality"])

    @property
    def step(self) -> int:
        """The last step that was logged."""
        return int(self.training[-1]["step"]) if self.training else 0

    @property
    def samples_seen(self) -> int:
        return self.step * int(self.config["loop"]["global_batch_size"])

    @property
    def num_rows(self) -> int | None:
        """Rows trained on, as the logged share of an epoch gives them."""
        return round(self.samples_seen / self.training[-1]["epoch"]) if self.training else None

    @property
    def max_steps(self) -> int | None:
        """Planned steps; of a run that is told epochs, once its first row says how many rows there are."""
        loop = self.config["loop"]
        if loop["max_steps"] is not None:
            return int(loop["max_steps"])
        if self.num_rows is None:
            return None
        return math.ceil(loop["num_epochs"] * self.num_rows / loop["global_batch_size"])

    @property
    def seconds(self) -> float | None:
        """Wall time of the logged steps."""
        return sum(row["time/seconds"] for row in self.training) if self.training else None

    @property
    def waiting(self) -> float | None:
        """Share of the wall time that was spent waiting for data."""
        if not self.seconds:
            return None
        return float(sum(row["time/data_wait"] * row["time/seconds"] for row in self.training) / self.seconds)

    @property
    def energy(self) -> str:
        """An estimate and what it rests on: the power of the devices in use times the logged wall time."""
        power = self.environment.get("power")
        if not self.seconds or power is None or not power["watts"]:
            return NOT_MEASURED
        return f"about {power['watts'] * self.seconds / 3.6e6:.2g} kWh, estimated: {power['basis']}"

    @property
    def state(self) -> str:
        if self.summary is not None:
            return f"finished, {self.step} steps"
        planned = "" if self.max_steps is None else f" of {self.max_steps}"
        return f"not finished, at step {self.step}{planned}"

    @property
    def alarms(self) -> list[str]:
        """Signs of collapse that the last row of metrics.jsonl still shows, in sentences."""
        last = max((rows[-1] for rows in (self.validation, self.training) if rows), key=_step_of, default={})
        return list(last.get("warnings", []))

    @property
    def left_out(self) -> list[str]:
        """What of the data was left out, where it was more than a little, in sentences."""
        return list(self.environment.get("data", {}).get("left_out", []))

    def last(self, key: str) -> Any:
        """`key` of the last training row; None where nothing was logged."""
        return self.training[-1].get(key) if self.training else None


def facts_of(run_dir: RunDir, step: int | None = None) -> Facts:
    """The facts of a run folder, finished or not; of one whose weights are those of `step`, what was known by then."""
    last = math.inf if step is None else step
    names = [name for name in run_dir.eval_names() if name != "summary"]
    pictures = in_order([*run_dir.figures.glob("*.png"), *(run_dir.path / "eval").glob("*.png")])
    rows = [row for row in run_dir.read_metrics() if row["step"] <= last]
    return Facts(
        config=run_dir.read_config(),
        environment=run_dir.read_environment(),
        training=list(filter(is_of_training, rows)),
        validation=list(filter(is_of_validation, rows)),
        summary=run_dir.read_summary(),
        evaluations={name: run_dir.read_eval(name) for name in names},
        figures=pictures,
        not_made=read_record(run_dir).failed,
    )


def _step_of(row: Row) -> int:
    return int(row["step"])


def before_and_after(table: Row) -> tuple[Row | None, Row | None]:
    """The rows of a closing table for the encoder as the run found it and as the run left it."""
    rows = {row["features"]: row for row in table["rows"]}
    return next((rows[name] for name in BEFORE if name in rows), None), rows.get(PRETRAINED)


def shared_warnings(facts: Facts, *, of_waiting: bool) -> list[str]:
    """What speaks against a run of any kind, in sentences; of_waiting: time that is spent waiting for data too."""
    found = []
    if skipped := facts.last("skipped_steps"):
        found.append(f"{skipped} of {facts.step} steps were skipped: their loss or gradient was not finite")
    if bad := facts.last("bad_rows"):
        found.append(f"{bad} rows could not be used and were replaced by others")
    if of_waiting and (facts.waiting or 0) > _LONG_WAIT:
        found.append(f"{facts.waiting:.0%} of the time went into waiting for data: more --num_workers may help")
    found += [f"the {part} could not be made ({kind})" for part, kind in facts.not_made.items()]
    return found + facts.alarms


def remark(table: Row) -> str | None:
    """How to read scores that the first, trivial kind of features reaches by itself."""
    floor: Row = next(iter(table["rows"]), {})
    after: Row = next((row for row in table["rows"] if row["features"] == PRETRAINED), {})
    if "knn" not in floor or "knn" not in after or floor["knn"] < after["knn"]:
        return None
    subject = f"{floor['features']} are" if floor["features"].endswith("s") else f"{floor['features']} is"
    return f"{subject} a strong baseline on this data: what counts is the gain over the untrained encoder"


def clock(seconds: float | None) -> str:
    """Seconds as h:mm:ss."""
    return NOT_MEASURED if seconds is None else str(timedelta(seconds=round(seconds)))


def hardware(environment: JsonView) -> str:
    """The processors in words."""
    if not environment:
        return NOT_MEASURED
    gpus = environment["gpus"]
    processes = environment["num_processes"]
    if environment["device"] == "cpu" or not gpus:
        return f"{environment['cpu']}, {processes} process(es) of {environment['threads_per_process']} thread(s)"
    return f"{processes} x {gpus[0]} ({environment['cpu']})"
