"""What the report says of a study of labels: many runs on shares of the labels, and what pretraining is worth for each."""

from typing import Any, ClassVar, Literal

from hfssl.evaluation.table import layout_of_study
from hfssl.reporting.facts import Row
from hfssl.reporting.fine_tuned import FineTuned
from hfssl.reporting.run_kind import Tile
from hfssl.run_dir import LABEL_STUDY


class LabelStudy(FineTuned):
    """A study of labels; its folder holds no model of its own."""

    report_template: ClassVar[str] = "label_study_report_template.html"

    @property
    def found(self) -> Row | None:
        """The content of eval/label_study.json."""
        return self.facts.evaluations.get(LABEL_STUDY)

    def _num(self, what: Literal["trials", "cells"]) -> int:
        return 0 if self.found is None else sum(len(point[what]) for point in self.found["points"])

    def own_plan(self) -> dict[str, str] | None:
        if self.found is None:
            return {}
        return {
            "runs": f"{self._num('cells'):,}, and {self._num('trials'):,} trials for the learning rates",
            "seeds per point": str(self.found["seeds"]),
            "steps per run": f"{self.found['steps']:,}",
        }

    @property
    def is_finished(self) -> bool:
        return self.found is not None

    @property
    def state(self) -> str:
        return (
            "not finished"
            if self.found is None
            else f"finished, a label study of {self._num('trials') + self._num('cells')} runs"
        )

    def tiles(self) -> list[Tile]:
        """What pretraining is worth at each number of labels, where it was compared."""
        gains = [] if self.found is None else self.found["gains"]
        return [
            Tile(
                f"{gain['labels']} labels", f"{gain['mean']:+.1f}", f"points, {gain['low']:+.1f} to {gain['high']:+.1f}"
            )
            for gain in gains
        ]

    def report_contents(self) -> dict[str, Any]:
        if self.found is None:
            return {"study": None, "notes": []}
        sentences = [gain["sentence"] for gain in self.found["gains"]]
        return {"study": layout_of_study(self.found), "notes": [*sentences, *self.found["notes"]]}
