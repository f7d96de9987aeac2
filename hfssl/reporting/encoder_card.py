"""What only the card of a pretrained encoder says: the scores of its features."""

from collections.abc import Mapping
from typing import Any

from huggingface_hub import EvalResult

from hfssl.evaluation.table import NOT_MEASURED, layout_of_summary
from hfssl.reporting.facts import BEFORE, PRETRAINED, SCORES, before_and_after, remark
from hfssl.reporting.markdown import one_line
from hfssl.reporting.scores import as_markdown, pretext_lines

_CLASSIFICATIONS = {"image-feature-extraction": "image-classification", "feature-extraction": "audio-classification"}


def encoder_contents(summary: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the template of a pretrained encoder asks for; summary: the closing table, None of a run that is not finished."""
    if summary is None:
        return {
            "scores": None,
            "language": {},
            "pretext": [],
            "notes": [],
            "remark": None,
            "spread": None,
            "floors": [],
        }
    return {
        "scores": as_markdown(layout_of_summary(summary)),
        "language": _language(summary),
        "pretext": pretext_lines(summary),
        "notes": list(summary.get("notes", [])),
        "remark": remark(summary),
        "spread": _spread(summary),
        "floors": [row["features"] for row in summary["rows"] if row["features"] not in (*BEFORE, PRETRAINED)],
    }


def encoder_results(summary: Mapping[str, Any], tag: str, dataset: Mapping[str, Any]) -> list[EvalResult]:
    """The accuracies of classifiers on its features; tag: the Hub's name for what its class does; `dataset`: of an EvalResult."""
    _, after = before_and_after(summary)
    names = [] if after is None else [name for name in SCORES if name in after]
    return [
        EvalResult(
            task_type=_CLASSIFICATIONS.get(tag, "text-classification"),
            task_name=f"classification of frozen features: {_score_title(name, after)}",
            dataset_split=one_line(str(summary["test_split"])),
            metric_type="accuracy",
            metric_name=f"accuracy, {_score_title(name, after)}",
            metric_value=round(after[name], 4),
            **dataset,
        )
        for name in names
        if after is not None
    ]


def _score_title(name: str, row: Mapping[str, Any] | None) -> str:
    return f"{row['num_labels']} labels" if row is not None and name == "few_labels" else SCORES[name]


def _language(summary: Mapping[str, Any]) -> dict[str, float]:
    """What a language model reached, in words; losses in nats a token."""
    return {name.replace("_", " "): value for name, value in summary.get("language", {}).items()}


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
