"""What report and card say of a fine-tuned model: its scores with trivial baselines, and how to get predictions."""

from collections.abc import Mapping
from typing import Any, ClassVar

from huggingface_hub import EvalResult

from hfssl.checkpoints.exports import Exported
from hfssl.figures import curves as figures
from hfssl.reporting.facts import Facts
from hfssl.reporting.markdown import Trusted, inline
from hfssl.reporting.run_kind import RunKind, Tile
from hfssl.reporting.task_card import task_card_contents, task_results, title_of, tuned_of
from hfssl.reporting.task_report import task_contents, task_data, task_tiles, task_warnings
from hfssl.reporting.task_scores import in_words
from hfssl.reporting.task_usage import task_usage
from hfssl.run_dir import RunDir


class FineTuned(RunKind):
    """A model of a downstream task."""

    report_template: ClassVar[str] = "task_report_template.html"
    card_template: ClassVar[str] = "task_card_template.md"
    tags: ClassVar[tuple[str, ...]] = ("fine-tuned",)

    def __init__(self, facts: Facts, export: Exported | None) -> None:
        super().__init__(facts, export)
        self.tuned = tuned_of(facts, export, self.samples)

    @property
    def steps_take_time(self) -> bool:
        """Features of a frozen body are computed before the first step."""
        return self.tuned.adaptation != "frozen"

    @property
    def pipeline_tag(self) -> str | None:
        return None if self.export is None else self.export.task

    @property
    def title(self) -> str:
        return title_of(self.tuned, self.pipeline_tag)

    def own_warnings(self) -> list[str]:
        return task_warnings(self.facts)

    def card_warnings(self) -> list[str]:
        """Those of the task are literal text, whole where they are long."""
        own = self.own_warnings()
        shared = self.warnings()[: -len(own) or None]
        return shared + [Trusted("; ".join(inline(part) for part in text.split("; "))) for text in own]

    def draw_progress(self, run_dir: RunDir) -> None:
        figures.score_curve(run_dir)

    def validation_titles(self) -> dict[str, str]:
        keys = [key for row in self.facts.validation for key in row if key.startswith("validation/")]
        logged = [key.removeprefix("validation/") for key in keys]
        return {"loss": "validation loss"} | {name: in_words(name) for name in logged if name != "loss"}

    def tiles(self) -> list[Tile]:
        """What the model gets right, then what trivial answers do."""
        return [Tile(*tile) for tile in task_tiles(self.facts)]

    def data_lines(self, summary: Mapping[str, Any]) -> dict[str, str]:
        return task_data(summary)

    def report_contents(self) -> dict[str, Any]:
        return task_contents(self.facts)

    def card_contents(self) -> dict[str, Any]:
        return {"tuned": self.tuned} | task_card_contents(self.tuned, self.pipeline_tag)

    def usage(self, export: Exported, name: str) -> str:
        return task_usage(export, name, self.tuned.class_names, self.tuned.output_type)

    def results(self, tag: str, dataset: Mapping[str, Any]) -> list[EvalResult]:
        return task_results(self.tuned, tag, dataset)
