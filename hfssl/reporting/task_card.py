"""What only the card of a fine-tuned model says: classes, adaptation, scores with their baselines."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from huggingface_hub import EvalResult

from hfssl.checkpoints.exports import Exported
from hfssl.reporting.facts import Facts, Row
from hfssl.reporting.markdown import Trusted, inline, one_line
from hfssl.reporting.scores import as_markdown
from hfssl.reporting.task_report import kept_weights, score_table, task_warnings
from hfssl.reporting.task_scores import part_tables

KINDS = {
    "image-classification": "An image classifier",
    "text-classification": "A text classifier",
    "audio-classification": "A classifier of recordings",
    "token-classification": "A classifier of words in texts",
    "automatic-speech-recognition": "A speech recogniser",
    "question-answering": "A model that finds answers in texts",
}
_NUMBERS = "A model that gives a text a number"
_DOES = {
    "image-classification": "Telling apart {classes} of images",
    "text-classification": "Telling apart {classes} of texts",
    "audio-classification": "Telling apart {classes} of recordings",
    "token-classification": "Marking parts of texts, by {classes}",
    "automatic-speech-recognition": "Writing down speech",
    "question-answering": "Finding the answer to a question in a text that holds it",
}
_ADAPTATIONS = {
    "full": "every weight was trained",
    "frozen": "only the head was trained, the body stayed as it was",
    "lora": "low-rank adapters of the body and the head were trained (LoRA, [arXiv 2106.09685](https://arxiv.org/abs/2106.09685))",
}
_METRICS = {  # -> the Hub's name
    "accuracy": "accuracy",
    "macro_f1": "f1",
    "f1": "f1",
    "precision": "precision",
    "recall": "recall",
    "matthews_correlation": "matthews_correlation",
    "exact_match": "exact_match",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
    "mean_squared_error": "mse",
    "mean_absolute_error": "mae",
    "wer": "wer",
    "cer": "cer",
}
_MOST_NAMED = 100
_SAMPLES = {"text_column": "texts", "audio_column": "recordings", "image_column": "images"}


class Tuned(NamedTuple):
    """A fine-tuning as a card tells it; everything is None or empty where the run does not say it yet.

    output_type: what a prediction is; class_names: in the order of their numbers; kept: which step's weights these are, in words;
    notes: how rows were divided; scores: `scores` of eval/summary.json, on `test_rows` rows of `test_split`.
    """

    adaptation: str
    is_merged: bool
    samples: str
    output_type: str | None
    class_names: list[str] | None
    kept: str | None
    notes: list[str]
    scores: Row | None
    test_rows: int | None
    test_split: str | None


def tuned_of(facts: Facts, export: Exported | None) -> Tuned:
    """Of a run of a downstream task, finished or not."""
    method, summary = facts.config["method"], facts.summary or {}
    return Tuned(
        adaptation=method["adaptation"],
        is_merged=method["adaptation"] == "lora" and export is not None and export.base is None,
        samples=next(name for column, name in _SAMPLES.items() if column in facts.config["data"]),
        output_type=summary.get("output_type"),
        class_names=method["class_names"],
        kept=kept_weights(facts),
        notes=list(summary.get("notes", [])),
        scores=summary.get("scores"),
        test_rows=summary.get("test_rows"),
        test_split=summary.get("test_split"),
    )


def card_warnings(facts: Facts) -> list[str]:
    """The sentences of `task_warnings` as literal text, whole where they are long."""
    return [Trusted("; ".join(inline(part) for part in text.split("; "))) for text in task_warnings(facts)]


def task_card_contents(tuned: Tuned, tag: str | None) -> dict[str, Any]:
    """What the template of a fine-tuned model asks for; tag: the Hub's name for what its class does."""
    scores = tuned.scores
    adaptation = _ADAPTATIONS[tuned.adaptation] + (" and added to the weights" if tuned.is_merged else "")
    return {
        "kind": _NUMBERS if tuned.output_type == "numbers" else KINDS.get(tag or "", f"A model of {tuned.samples}"),
        "does": _what_it_does(tuned, tag),
        "adaptation": Trusted(adaptation),
        "names": _class_list(tuned.class_names),
        "scores": None if scores is None else as_markdown(score_table(scores)),
        "parts": [] if scores is None else [(part.header[0], as_markdown(part)) for part in part_tables(scores)],
    }


def task_results(tuned: Tuned, tag: str | None, dataset: Mapping[str, Any]) -> list[EvalResult]:
    """The scores that the Hub has names for; `dataset`: what an EvalResult says of the data."""
    if tuned.scores is None or tag is None:
        return []
    split = one_line(str(tuned.test_split))
    return [
        EvalResult(
            task_type=tag,
            task_name=tag.replace("-", " "),
            dataset_split=split,
            metric_type=metric,
            metric_name=name.replace("_", " "),
            metric_value=round(tuned.scores[name], 4),
            **dataset,
        )
        for name, metric in _METRICS.items()
        if tuned.scores.get(name) is not None
    ]


def _what_it_does(tuned: Tuned, tag: str | None) -> str:
    if tuned.output_type == "numbers":
        return "Giving a text a number"
    names = tuned.class_names
    classes = "classes" if names is None else f"{len(names)} classes"
    return _DOES.get(tag or "", "Answers about {samples}").format(classes=classes, samples=tuned.samples)


def _class_list(names: Sequence[str] | None) -> Trusted | None:
    if names is None:
        return None
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return Trusted(", ".join(inline(name) for name in names[:_MOST_NAMED]) + more)
