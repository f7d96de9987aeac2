"""What report and card say of one kind of run, in addition to what they say of every run."""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from huggingface_hub import EvalResult

from hfssl.catalog import DATA_CONFIGS
from hfssl.checkpoints.exports import Exported
from hfssl.reporting.facts import Facts, shared_warnings
from hfssl.run_dir import Json, JsonView, RunDir


class Tile(NamedTuple):
    """One figure of the report's headline."""

    title: str
    value: str
    note: str = ""


class RunKind(ABC):
    """One run, described as its kind asks for; `reporting/kinds.py` chooses the class.

    report_template, card_template: files of this folder; tags: on the Hub.
    """

    report_template: ClassVar[str]
    card_template: ClassVar[str]
    tags: ClassVar[tuple[str, ...]]

    def __init__(self, facts: Facts, export: Exported | None) -> None:
        self.facts, self.export = facts, export

    @property
    def samples(self) -> str:
        """What the model reads."""
        return DATA_CONFIGS[self.facts.modality].samples

    @property
    def is_finished(self) -> bool:
        return self.facts.summary is not None

    @property
    def state(self) -> str:
        """How far the run is, in words."""
        return self.facts.state

    @property
    def steps_take_time(self) -> bool:
        """Whether a step computes enough for waiting for data to be worth a warning."""
        return True

    def own_plan(self) -> dict[str, str] | None:
        """How much was trained, where that is not one training of one model."""
        return None

    def warnings(self) -> list[str]:
        """Everything in the folder that speaks against the run, in sentences."""
        shared = shared_warnings(self.facts, of_waiting=self.steps_take_time)
        return self.facts.left_out + shared + self.own_warnings()

    def card_warnings(self) -> list[str]:
        """The same as a card has them."""
        return self.warnings()

    @abstractmethod
    def own_warnings(self) -> list[str]:
        """What speaks against this kind of run in particular."""

    @abstractmethod
    def draw_progress(self, run_dir: RunDir) -> None:
        """Draw the figures of validation rows while training."""

    @abstractmethod
    def validation_titles(self) -> dict[str, str]:
        """Name of a logged figure of validation rows -> its title."""

    @abstractmethod
    def tiles(self) -> list[Tile]:
        """The results in a headline."""

    @abstractmethod
    def data_lines(self, summary: JsonView) -> dict[str, str]:
        """The rows other than those trained on."""

    @abstractmethod
    def report_contents(self) -> Json:
        """What the report's template asks for, in addition to what every report has."""

    @property
    @abstractmethod
    def pipeline_tag(self) -> str | None:
        """The Hub's name for what the model does; None while that is not known."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What the model is, in words."""

    @abstractmethod
    def card_contents(self) -> Json:
        """What the card's template asks for, in addition to what every card has."""

    @abstractmethod
    def usage(self, export: Exported, name: str) -> str:
        """Python that loads the export `name`, a folder or a Hub id, and uses it once."""

    @abstractmethod
    def results(self, tag: str, dataset: JsonView) -> list[EvalResult]:
        """The scores that the Hub has names for; `dataset`: what an EvalResult says of the data."""
