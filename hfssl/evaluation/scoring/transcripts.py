"""Answers that are transcripts: (what was heard, what was said) each.

`character_accuracy` is 1 - CER: it chooses the step, since highest is best, and falls below 0 where much is made up.
"""

from collections.abc import Sequence

from hfssl.evaluation.edits import num_edits
from hfssl.evaluation.metrics import CharacterErrorRate, WordErrorRate
from hfssl.evaluation.scoring.output_types import AnswerSettings, Drawings, Shown
from hfssl.run_dir import Json, RunDir

Answer = tuple[str, str]
CHOSEN_BY = "character_accuracy"
_LISTED, _LINES, _LONGEST = 25, 3, 300


def scores(method: AnswerSettings, predictions: Sequence[Answer]) -> dict[str, float | None]:
    said, true = [one for one, _ in predictions], [other for _, other in predictions]
    cer = CharacterErrorRate().compute(predictions=said, references=true)["cer"]
    wer = WordErrorRate().compute(predictions=said, references=true)["wer"]
    return {"character_accuracy": None if cer is None else 1 - cer, "cer": cer, "wer": wer}


def final_scores(method: AnswerSettings, predictions: Sequence[Answer], shown: Shown) -> Json:
    """All scores: error rates over all rows together, and the transcripts with the most wrong characters."""
    edits = [num_edits(list(said), list(true)) for said, true in predictions]
    worst = sorted(range(len(predictions)), key=lambda row: (-edits[row] / max(1, len(predictions[row][1])), row))[
        :_LISTED
    ]
    summary: Json = {"rows": len(predictions), **scores(method, predictions)}
    summary |= {"characters": sum(len(true) for _, true in predictions), "edits": sum(edits)}
    summary["exact_rows"] = sum(said == true for said, true in predictions)
    summary["empty_answers"] = sum(not said for said, _ in predictions)
    summary["worst"] = [
        {
            "row": row,
            "sample": shown(row),
            "said": predictions[row][0][:_LONGEST],
            "true": predictions[row][1][:_LONGEST],
            "edits": edits[row],
        }
        for row in worst
        if edits[row]
    ]
    return summary


def drawings(run_dir: RunDir, predictions: Sequence[Answer], summary: Json, shown: Shown) -> Drawings:
    """None."""
    return {}


def lines(summary: Json) -> list[str]:
    def rate(name: str) -> str:
        return "none" if summary[name] is None else f"{summary[name]:.3f}"

    found = [
        f"character error rate (CER)   {rate('cer')}   1 is what an empty answer gets",
        f"word error rate (WER)        {rate('wer')}",
        f"without an error             {summary['exact_rows']} of {summary['rows']}",
    ]
    if summary["empty_answers"]:
        found.append(f"nothing heard in             {summary['empty_answers']} of {summary['rows']}")
    for one in summary["worst"][:_LINES]:
        found.append(f"worst       row {one['row']}: {one['said'][:60]!r} for {one['true'][:60]!r}")
    return found
