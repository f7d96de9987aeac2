"""Answers that are a tag for each word of a row: (tags said, true tags) each, by name, in IOB2."""

from collections.abc import Sequence

from hfssl.evaluation.metrics import EntityF1, spans_of
from hfssl.evaluation.scoring.output_types import AnswerSettings, Drawings, Shown
from hfssl.figures.entities import entity_figure
from hfssl.run_dir import Json, RunDir

Answer = tuple[list[str], list[str]]
CHOSEN_BY = "f1"
_MOST_MISTAKES, _LONGEST_TEXT, _MOST_TYPES = 24, 200, 20


def scores(method: AnswerSettings, predictions: Sequence[Answer]) -> dict[str, float | None]:
    """f1, precision and recall of whole entities, and accuracy, the share of words whose tag is said."""
    found = EntityF1().compute(
        predictions=[said for said, _ in predictions] or [[]], references=[true for _, true in predictions] or [[]]
    )
    pairs = [pair for said, true in predictions for pair in zip(said, true, strict=True)]
    accuracy = sum(said == true for said, true in pairs) / len(pairs) if pairs else None
    return {name: found[name] for name in ("f1", "precision", "recall")} | {"accuracy": accuracy}


def final_scores(method: AnswerSettings, predictions: Sequence[Answer], shown: Shown) -> Json:
    """All scores. `mistakes` are the rows with most entities missed or said in vain."""
    found = EntityF1().compute(
        predictions=[said for said, _ in predictions], references=[true for _, true in predictions]
    )
    summary: Json = {"rows": len(predictions), "words": sum(len(true) for _, true in predictions)}
    summary |= scores(method, predictions)
    summary |= {name: found[name] for name in ("conlleval_f1", "per_type")} | {"entities": found["support"]}
    summary["outside_share"] = _share_outside(predictions)
    summary["mistakes"] = _mistakes(predictions, shown)
    return summary


def drawings(run_dir: RunDir, predictions: Sequence[Answer], summary: Json, shown: Shown) -> Drawings:
    """figures/entities.png."""
    return {"figure of entities": lambda: entity_figure(run_dir, summary)}


def lines(summary: Json) -> list[str]:
    found = [
        f"entity F1   {_figure(summary['f1'])}   precision {_figure(summary['precision'])}, recall "
        f"{_figure(summary['recall'])}, of {summary['entities']} entities",
        f"conlleval   {_figure(summary['conlleval_f1'])}   F1 where an I- tag may begin an entity",
        f"word tags   {_figure(summary['accuracy'])}   always O {_figure(summary['outside_share'])}",
    ]
    kinds = list(summary["per_type"].items())
    found += [f"  {kind:<10}{_figure(one['f1'])}   {one['support']} entities" for kind, one in kinds[:_MOST_TYPES]]
    return found + ([f"  and {len(kinds) - _MOST_TYPES} more types"] if len(kinds) > _MOST_TYPES else [])


def _share_outside(predictions: Sequence[Answer]) -> float | None:
    tags = [tag for _, true in predictions for tag in true]
    return tags.count("O") / len(tags) if tags else None


def _mistakes(predictions: Sequence[Answer], shown: Shown) -> list[Json]:
    """Rows with wrong entities, those with most of them first; words are numbered from 0, ends not included."""
    wrong = []
    for row, (said, true) in enumerate(predictions):
        missed, in_vain = spans_of(true) - spans_of(said), spans_of(said) - spans_of(true)
        if missed or in_vain:
            wrong.append((row, sorted(missed), sorted(in_vain)))
    wrong.sort(key=lambda one: (-len(one[1]) - len(one[2]), one[0]))
    return [
        {"row": row, "text": str(shown(row))[:_LONGEST_TEXT], "missed": missed, "said_in_vain": in_vain}
        for row, missed, in_vain in wrong[:_MOST_MISTAKES]
    ]


def _figure(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
