"""Which signs of collapse hold, since when, and what is said of them: pure bookkeeping on plain numbers.

What it remembers are a few numbers in train_state.json, so that a resumed run raises the alarms of an unbroken one.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from hfssl.objective import Diagnosis
from hfssl.training.collapse_signs import CAUSES, EFFECTS, Figures, Kind, Sign

_FIRST = ("weight_norm", "weight_mark", "teacher_mark", "target_std", "validation/std")


class Alarm(NamedTuple):
    """A sign that has held for long enough.

    figure: its last value; threshold: what it is beyond; since: the step at which it was first seen.
    """

    sign: str
    figure: float
    threshold: float
    since: int
    says: str
    cause: str
    remedy: str

    @property
    def sentence(self) -> str:
        """The alarm for people. Without the last step, so that it reads the same at every look."""
        return f"collapse: {self.says} since step {self.since}; probably {self.cause}: {self.remedy}"


@dataclass
class AlarmHistory:
    """What is kept of earlier rows, as JSON can hold it.

    first: figures of the first rows; held: sign -> [step at which it was first seen, rows that showed it, last step, last
    figure], for signs that the last row that could tell showed.
    """

    first: dict[str, float]
    held: dict[str, list[float]]

    def begin(self, figures: Figures) -> None:
        """Keep what later rows are compared with, where it is not known yet."""
        for name in _FIRST:
            if _is_finite(figures.get(name)):
                self.first.setdefault(name, figures[name])

    def observe(self, kind: Kind, step: int, figures: Figures) -> None:
        """Take in one row; figures that are missing, None or not finite change nothing."""
        finite = {name: value for name, value in figures.items() if value is None or _is_finite(value)}
        self.begin(finite)
        for sign in CAUSES + EFFECTS:
            figure = sign.figure(finite, self.first) if sign.kind == kind else None
            if figure is None:
                continue
            since, rows = self.held.get(sign.name, [step, 0])[:2]
            if figure < sign.below or figure > sign.above:
                self.held[sign.name] = [since, rows + 1, step, figure]
            elif not (sign.lasts and rows >= sign.rows):
                self.held.pop(sign.name, None)

    def alarms(self, max_steps: int, diagnoses: Mapping[str, Diagnosis]) -> list[Alarm]:
        """What is to be said: every cause that is seen, or else the first effect."""
        found = [[sign for sign in signs if self._counts(sign, max_steps)] for signs in (CAUSES, EFFECTS)]
        return [self._alarm(sign, diagnoses) for sign in found[0] or found[1][:1]]

    def _counts(self, sign: Sign, max_steps: int) -> bool:
        if sign.name not in self.held:
            return False
        since, rows, last, _ = self.held[sign.name]
        return rows >= sign.rows and last - since >= sign.patience * max_steps

    def _alarm(self, sign: Sign, diagnoses: Mapping[str, Diagnosis]) -> Alarm:
        since, _, _, figure = self.held[sign.name]
        cause = diagnoses.get(sign.name, sign.cause)
        says = sign.says.format(figure=figure)
        return Alarm(sign.name, figure, sign.threshold, int(since), says, cause.reason, cause.remedy)


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def news(before: Iterable[Alarm], now: Iterable[Alarm]) -> list[str]:
    """Lines on the alarms that begin and those that end."""
    old, new = {alarm.sign: alarm for alarm in before}, {alarm.sign: alarm for alarm in now}
    begun = [f"warning: {alarm.sentence}" for name, alarm in new.items() if name not in old]
    return begun + [f"no longer so: {alarm.says}" for name, alarm in old.items() if name not in new]
