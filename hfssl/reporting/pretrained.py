"""What report and card say of a pretrained model: what its features are worth, and what a language model reached."""

from collections.abc import Mapping
from typing import Any, ClassVar

from huggingface_hub import EvalResult

from hfssl.catalog import config_of
from hfssl.checkpoints.exports import Exported
from hfssl.evaluation.table import NOT_MEASURED, layout_of_summary
from hfssl.figures import curves as figures
from hfssl.reporting.facts import BEFORE, PRETRAINED, SCORES, before_and_after, remark
from hfssl.reporting.markdown import one_line
from hfssl.reporting.run_kind import RunKind, Tile
from hfssl.reporting.scores import as_markdown, pretext_lines
from hfssl.reporting.usage import usage
from hfssl.run_dir import RunDir

_TITLES = {
    "image-feature-extraction": "An image encoder",
    "fill-mask": "A masked language model",
    "text-generation": "A causal language model",
    "feature-extraction": "A speech encoder",
}
_VALIDATION = {"loss": "validation loss", "knn": "kNN", "std": "feature std", "rank_me": "RankMe"}
_NO_CONTENTS: dict[str, Any] = {
    "scores": None,
    "language": {},
    "pretext": [],
    "notes": [],
    "remark": None,
    "spread": None,
    "floors": [],
}


class PretrainedEncoder(RunKind):
    """An encoder of images or recordings."""

    report_template: ClassVar[str] = "report_template.html"
    card_template: ClassVar[str] = "card_template.md"
    tags: ClassVar[tuple[str, ...]] = ("self-supervised-learning", "pretraining")

    @property
    def pipeline_tag(self) -> str:
        return config_of(self.facts.recipe).pipeline_tag if self.export is None else self.export.task

    @property
    def title(self) -> str:
        return _TITLES[self.pipeline_tag]

    @property
    def classification(self) -> str:
        """The Hub's name for telling apart what the encoder reads."""
        return f"{self.facts.modality}-classification"

    def own_warnings(self) -> list[str]:
        summary = self.facts.summary
        before, after = (None, None) if summary is None else before_and_after(summary)
        if after is None:
            return []
        found = [] if self.facts.alarms else list(after.get("warnings", []))
        if before is not None:
            worse = [name for name in SCORES if name in after and name in before and after[name] < before[name]]
            named = ", ".join(f"{SCORES[name]} {after[name]:.3f} < {before[name]:.3f}" for name in worse)
            if worse:
                found.append(f"the features are worse than those of the encoder {before['features']}: {named}")
        if not any(name in after for name in SCORES):
            found.append("no scores: the data has no labels, or no split to score (test or validation)")
        return found

    def draw_progress(self, run_dir: RunDir) -> None:
        figures.watch_curve(run_dir)

    def validation_titles(self) -> dict[str, str]:
        return _VALIDATION

    def tiles(self) -> list[Tile]:
        """The gain over the encoder as it was before."""
        summary = self.facts.summary
        before, after = (None, None) if summary is None else before_and_after(summary)
        tiles = []
        if before is not None and after is not None:
            for name in SCORES:
                if name in after and name in before:
                    gain = f"{100 * (after[name] - before[name]):+.1f} points over {before['features']}"
                    tiles.append(Tile(_score_title(name, after), f"{after[name]:.3f}", gain))
        return tiles

    def data_lines(self, summary: Mapping[str, Any]) -> dict[str, str]:
        test = f"{summary['test_rows']:,} of the split {summary['test_split']}" if summary["test_rows"] else "none"
        return {"training rows in the table": f"{summary['train_rows']:,}", "test rows in the table": test}

    def report_contents(self) -> dict[str, Any]:
        """The results table, and how to read it."""
        summary = self.facts.summary
        if summary is None:
            return {"table": None, "pretext": [], "remark": None, "protocol": {}}
        return {
            "table": layout_of_summary(summary) if summary["rows"] else None,
            "pretext": pretext_lines(summary),
            "remark": remark(summary),
            "protocol": summary["protocol"],
        }

    def card_contents(self) -> dict[str, Any]:
        summary = self.facts.summary
        if summary is None:
            return _NO_CONTENTS
        return {
            "scores": as_markdown(layout_of_summary(summary)) if summary["rows"] else None,
            "language": {},
            "pretext": pretext_lines(summary),
            "notes": list(summary.get("notes", [])),
            "remark": remark(summary),
            "spread": _spread(summary),
            "floors": [row["features"] for row in summary["rows"] if row["features"] not in (*BEFORE, PRETRAINED)],
        }

    def usage(self, export: Exported, name: str) -> str:
        return usage(export, name)

    def results(self, tag: str, dataset: Mapping[str, Any]) -> list[EvalResult]:
        """The accuracies of classifiers on its features."""
        summary = self.facts.summary
        _, after = (None, None) if summary is None else before_and_after(summary)
        if summary is None or after is None:
            return []
        return [
            EvalResult(
                task_type=self.classification,
                task_name=f"classification of frozen features: {_score_title(name, after)}",
                dataset_split=one_line(str(summary["test_split"])),
                metric_type="accuracy",
                metric_name=f"accuracy, {_score_title(name, after)}",
                metric_value=round(after[name], 4),
                **dataset,
            )
            for name in SCORES
            if name in after
        ]


class LanguageModel(PretrainedEncoder):
    """A language model: an encoder of texts that also predicts tokens."""

    def card_contents(self) -> dict[str, Any]:
        """With what it reached on validation rows, in words; losses in nats per token."""
        reached = (self.facts.summary or {}).get("language", {})
        return super().card_contents() | {
            "language": {name.replace("_", " "): value for name, value in reached.items()}
        }


def _score_title(name: str, row: Mapping[str, Any]) -> str:
    return f"{row['num_labels']} labels" if name == "few_labels" else SCORES[name]


def _spread(summary: Mapping[str, Any]) -> str:
    """The collapse report in a sentence."""
    rows = {row["features"]: row for row in summary["rows"]}
    after = rows.get(PRETRAINED, {})
    if "std" not in after:
        return NOT_MEASURED
    return (
        f"standard deviation of normalised features {after['std']:.3f} (1 if isotropic, 0 if constant), "
        f"RankMe {after['rank_me']:.1f} of {after['width']} dimensions"
    )
