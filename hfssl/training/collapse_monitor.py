"""Looks out for signs of collapse while a run trains: gathers figures, lets all ranks agree, and says what begins and ends."""

from dataclasses import dataclass, field

from hfssl.console import say
from hfssl.distributed import broadcast_object, is_main_process
from hfssl.nn.signals import weight_figures
from hfssl.objective import Objective
from hfssl.run_dir import Json
from hfssl.training.alarms import Alarm, AlarmHistory, news
from hfssl.training.checkpoint import TrainState
from hfssl.training.collapse_signs import Kind

_SHOWN = ("weight_norm", "teacher_distance", "centre_norm")


@dataclass
class CollapseMonitor:
    """`alarms`: those in force, the same on all ranks; what earlier rows showed is kept in `state`.

    is_on: not where labels keep a model from collapse, and a fresh head grows as no encoder does.
    """

    objective: Objective
    state: TrainState
    is_on: bool = True
    alarms: list[Alarm] = field(default_factory=list)

    def begin(self) -> None:
        """Keep the figures of the start, which later ones are compared with."""
        if self.is_on:
            self._memory().begin(self._state_figures())

    def after_interval(self, figures: Json) -> Json:
        """What a training row gets in addition to its own figures: some of the weights, and `warnings`. Called by all ranks."""
        if not self.is_on:
            return {}
        of_state = self._state_figures()
        warnings = self._observe(
            "training", figures | of_state | {"max_healthy_update": self.objective.max_healthy_update}
        )
        return {name: of_state[name] for name in _SHOWN if name in of_state} | warnings

    def after_validate(self, figures: Json) -> Json:
        """`warnings` of a validation row, where there are some. Called by all ranks."""
        return self._observe("validation", figures) if self.is_on else {}

    def why_stopped(self) -> str:
        """One line for --stop_on_collapse."""
        return (
            f"{'; '.join(alarm.sentence for alarm in self.alarms)}; stopped, and the checkpoint of step {self.state.step} is "
            "kept: start a new run with that changed, or continue without --stop_on_collapse"
        )

    def _memory(self) -> AlarmHistory:
        return AlarmHistory(self.state.first_figures, self.state.held_signs)

    def _state_figures(self) -> dict[str, float]:
        """Of weights and buffers; waits for the device."""
        figures = weight_figures(self.objective) | self.objective.state_figures()
        return {name: float(value) for name, value in figures.items()}

    def _observe(self, kind: Kind, figures: Json) -> Json:
        self._memory().observe(kind, self.state.step, figures)
        agreed = broadcast_object((self.state.first_figures, self.state.held_signs))
        self.state.first_figures, self.state.held_signs = agreed
        alarms = self._memory().alarms(self.state.max_steps, self.objective.diagnoses())
        if is_main_process():
            for line in news(self.alarms, alarms):
                say(line)
        self.alarms = alarms
        return {"warnings": [alarm.sentence for alarm in alarms]} if alarms else {}
