"""Answers that are a piece of a text: (text said, gold texts) each; an empty text is no answer."""

from collections.abc import Sequence

from hfssl.evaluation.metrics import QuestionAnswering, answer_words, gold_words, shared_words
from hfssl.evaluation.scoring.output_types import AnswerSettings, Drawings, Shown
from hfssl.run_dir import Json, RunDir

Answer = tuple[str, list[str]]
CHOSEN_BY = "f1"
_MOST_MISTAKES, _LONGEST_TEXT = 24, 200


def scores(method: AnswerSettings, predictions: Sequence[Answer]) -> dict[str, float | None]:
    """exact_match and f1, as SQuAD's."""
    found: dict[str, float | None] = QuestionAnswering().compute(
        predictions=[said for said, _ in predictions], references=[golds for _, golds in predictions]
    )
    return found


def final_scores(method: AnswerSettings, predictions: Sequence[Answer], shown: Shown) -> Json:
    """All scores. `mistakes` are the first questions whose answer shares no word with a gold one."""
    summary: Json = {"rows": len(predictions)} | scores(method, predictions)
    summary["without_answer"] = sum(not golds for _, golds in predictions)
    summary["said_none"] = sum(not said for said, _ in predictions)
    wrong = [row for row, answer in enumerate(predictions) if _f1(answer) == 0.0]
    summary["nothing_shared"] = len(wrong)
    summary["mistakes"] = [
        {
            "row": row,
            "text": str(shown(row))[:_LONGEST_TEXT],
            "said": predictions[row][0][:_LONGEST_TEXT],
            "true": predictions[row][1][:3],
        }
        for row in wrong[:_MOST_MISTAKES]
    ]
    return summary


def drawings(run_dir: RunDir, predictions: Sequence[Answer], summary: Json, shown: Shown) -> Drawings:
    """None."""
    return {}


def lines(summary: Json) -> list[str]:
    found = [
        f"exact match   {summary['exact_match']:.3f}   F1 {summary['f1']:.3f}",
        f"no word of the answer   {summary['nothing_shared']} questions",
    ]
    if summary["without_answer"] or summary["said_none"]:
        found.append(f"without answer   {summary['without_answer']} questions, said of {summary['said_none']}")
    return found


def _f1(answer: Answer) -> float:
    said, golds = answer
    return max(shared_words(answer_words(said), true) for true in gold_words(golds))
