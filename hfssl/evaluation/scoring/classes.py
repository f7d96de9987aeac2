"""Answers that are one class a row: (logits (C,), number of the true class) each."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from hfssl.evaluation.classification import classification_summary, probabilities_of
from hfssl.evaluation.metrics import F1, Accuracy, MatthewsCorrelation
from hfssl.evaluation.scoring.output_types import AnswerSettings, Drawings, Shown
from hfssl.figures.classification import calibration_figure, confusion_figure, mistakes_figure
from hfssl.objective import Array
from hfssl.run_dir import Json, RunDir

Answer = tuple[Array, int]
CHOSEN_BY = "accuracy"
_LONGEST_TEXT = 200


def scores(method: AnswerSettings, predictions: Sequence[Answer]) -> dict[str, float | None]:
    said, true = [int(logits.argmax()) for logits, _ in predictions], [label for _, label in predictions]
    of_all: dict[str, float | None] = Accuracy().compute(predictions=said, references=true)
    f1 = F1().compute(predictions=said, references=true, num_classes=len(method.class_names or ()))["f1"]
    return of_all | {"macro_f1": f1}


def final_scores(method: AnswerSettings, predictions: Sequence[Answer], shown: Shown) -> Json:
    """All scores, with the worst mistakes."""
    logits_MC = np.stack([logits for logits, _ in predictions])
    labels_M = np.array([label for _, label in predictions])
    summary = classification_summary(probabilities_of(logits_MC), labels_M, list(method.class_names or ()))
    matthews = MatthewsCorrelation().compute(predictions=logits_MC.argmax(axis=1), references=labels_M)
    summary |= matthews
    if isinstance(_first_mistake(summary, shown), str):
        for mistake in summary["mistakes"]:
            mistake["text"] = str(shown(mistake["row"]))[:_LONGEST_TEXT]
    return summary


def drawings(run_dir: RunDir, predictions: Sequence[Answer], summary: Json, shown: Shown) -> Drawings:
    """figures/confusion.png, calibration.png, and of images mistakes.png."""
    found: Drawings = {
        "confusion figure": lambda: confusion_figure(run_dir, summary),
        "calibration figure": lambda: calibration_figure(run_dir, summary),
    }
    if isinstance(_first_mistake(summary, shown), Tensor):
        found["figure of mistakes"] = lambda: mistakes_figure(run_dir, summary, shown)  # type: ignore[arg-type]
    return found


def _first_mistake(summary: Json, shown: Shown) -> Tensor | str | None:
    """The worst mistake's sample for people; None where there is none to show."""
    return shown(summary["mistakes"][0]["row"]) if summary["mistakes"] else None


def lines(summary: Json) -> list[str]:
    low, high = summary["accuracy_interval"]
    unsure = [row["class"] for row in summary["per_class"] if row["recall"] == 0]
    found = [
        f"accuracy    {summary['accuracy']:.3f}   95 % interval {low:.3f} to {high:.3f}",
        f"macro F1    {summary['macro_f1']:.3f}   balanced accuracy {summary['balanced_accuracy']:.3f}",
        f"always the commonest class   {summary['most_frequent_share']:.3f}",
        f"calibration error (ECE)      {summary['calibration_error']:.3f}",
    ]
    if unsure:
        found.append(f"never found {', '.join(unsure[:10])}{' ...' if len(unsure) > 10 else ''}")
    return found
