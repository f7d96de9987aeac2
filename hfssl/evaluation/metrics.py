"""Metrics of fine-tuned models, each a metric of Hugging Face `evaluate`.

    Accuracy().compute(predictions=[0, 1], references=[0, 0])  # {"accuracy": 0.5}

All are shares in [0, 1] (correlations in [-1, 1], error rates from 0 up), never per cent, and None where they are undefined:
of no rows, or a denominator of 0. They ask no Hub and write no file. They see the rows of one process: gather first.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import datasets
import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import confusion_matrix, matthews_corrcoef

from hfssl.data.labels import check_labels
from hfssl.evaluation.classification import class_scores, mean_of, ratio
from hfssl.evaluation.edits import num_edits
from hfssl.evaluation.stock_metric import MetricInfo, StockMetric
from hfssl.run_dir import Json

_CLASS, _NUMBER, _TEXT = datasets.Value("int64"), datasets.Value("float64"), datasets.Value("string")
_TEXTS = datasets.Sequence(_TEXT)


def _described(metric: StockMetric, predictions: Any, references: Any, source: str) -> MetricInfo:
    return MetricInfo(
        description=str(metric.__doc__),
        citation=source,
        inputs_description="",
        features=datasets.Features({"predictions": predictions, "references": references}),
    )


class Accuracy(StockMetric):
    """accuracy: the share of rows whose class is said."""

    def _info(self) -> MetricInfo:
        return _described(self, _CLASS, _CLASS, "")

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> Json:
        return {"accuracy": ratio(int(np.equal(predictions, references).sum()), len(references))}


class F1(StockMetric):
    """f1: mean over classes of 2 TP / (2 TP + FP + FN), as scikit-learn's macro average; per_class: each, by number.

    A class that is never said has 0. One that neither occurs nor is said has None and does not count.
    """

    def _info(self) -> MetricInfo:
        return _described(self, _CLASS, _CLASS, "van Rijsbergen 1979, Information Retrieval, chapter 7")

    def _compute(self, predictions: Sequence[int], references: Sequence[int], num_classes: int | None = None) -> Json:
        """num_classes: one more than the largest number seen, unless told."""
        most = max([*predictions, *references], default=-1) + 1 if num_classes is None else num_classes
        for numbers in (predictions, references):
            check_labels(np.array(numbers), most)
        if not len(references):
            return {"f1": None, "per_class": [None] * most}
        scores = class_scores(confusion_matrix(references, predictions, labels=np.arange(most)))
        return {"f1": mean_of([one.f1 for one in scores]), "per_class": [one.f1 for one in scores]}


class MatthewsCorrelation(StockMetric):
    """matthews_correlation: the correlation of said and true classes, for any number of classes (Gorodkin 2004); GLUE's for CoLA.

    Undefined where all rows are said to be, or are, of one class: 0 then, as in scikit-learn, since nothing is told apart.
    """

    def _info(self) -> MetricInfo:
        return _described(self, _CLASS, _CLASS, "Matthews 1975; Gorodkin 2004; Warstadt et al. 2019, arXiv 1805.12471")

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> Json:
        if not len(references):
            return {"matthews_correlation": None}
        return {"matthews_correlation": float(matthews_corrcoef(references, predictions))}


class PearsonSpearman(StockMetric):
    """pearson: linear correlation; spearman: that of ranks, equal values sharing their mean rank; GLUE's for STS-B.

    None for fewer than 2 rows and where either side is constant.
    """

    def _info(self) -> MetricInfo:
        return _described(self, _NUMBER, _NUMBER, "Spearman 1904; Cer et al. 2017, arXiv 1708.00055")

    def _compute(self, predictions: Sequence[float], references: Sequence[float]) -> Json:
        if len(set(predictions)) < 2 or len(set(references)) < 2:
            return {"pearson": None, "spearman": None}
        return {
            "pearson": float(pearsonr(predictions, references).statistic),
            "spearman": float(spearmanr(predictions, references).statistic),
        }


class QuestionAnswering(StockMetric):
    """exact_match and f1 of SQuAD v1.1: the best over the gold answers of a question, then the mean over questions.

    Answers are compared in lower case, without ASCII punctuation, without a, an and the. f1 is that of the bags of their words.
    Predictions are texts, references lists of texts; a question without a gold answer asks for an empty prediction. Where one
    of two answers is empty f1 is 1 if both are, as in SQuAD 2.0's script; that of v1.1 gives 0. As there, a gold answer of
    which nothing is left, such as "the", counts only where there is no other.
    """

    def _info(self) -> MetricInfo:
        return _described(self, _TEXT, _TEXTS, "Rajpurkar et al. 2016, arXiv 1606.05250; 2018, arXiv 1806.03822")

    def _compute(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Json:
        exact, shared = 0.0, 0.0
        for prediction, golds in zip(predictions, references, strict=True):
            said = answer_words(prediction)
            true = gold_words(golds)
            exact += said in true
            shared += max(shared_words(said, words) for words in true)
        return {"exact_match": ratio(exact, len(references)), "f1": ratio(shared, len(references))}


def answer_words(text: str) -> list[str]:
    """SQuAD's normalisation, in its order: lower case, punctuation, articles, spaces."""
    bare = text.lower().translate(str.maketrans("", "", string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", bare).split()


def gold_words(golds: Sequence[str]) -> list[list[str]]:
    """The words of each gold answer that has any; one empty answer where none has."""
    return [words for gold in golds if (words := answer_words(gold))] or [[]]


def shared_words(said: Sequence[str], true: Sequence[str]) -> float:
    """F1 of two bags of words."""
    if not said or not true:
        return float(not said and not true)
    return 2 * (Counter(said) & Counter(true)).total() / (len(said) + len(true))


class Span(NamedTuple):
    """Words `start` to `end` (not included) of a sentence are an entity of this type."""

    kind: str
    start: int
    end: int


class EntityF1(StockMetric):
    """precision, recall, f1 of whole entities, over all types together (micro), and per_type each with its support.

    An entity counts where type and both ends agree (Tjong Kim Sang & De Meulder 2003, the task of CoNLL-2003). Tags are IOB2,
    read strictly, as in seqeval's strict mode: B-X begins an entity, I-X continues one of type X, any other I-X belongs to none.
    `conlleval_f1` is that of the shared task's script, in which such an I-X begins an entity. References must be IOB2 throughout.
    """

    def _info(self) -> MetricInfo:
        return _described(self, _TEXTS, _TEXTS, "Tjong Kim Sang & De Meulder 2003, arXiv cs/0306050")

    def _compute(self, predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> Json:
        true_spans = []
        for number, (said_tags, true_tags) in enumerate(zip(predictions, references, strict=True)):
            if len(said_tags) != len(true_tags):
                raise ValueError(f"sentence {number} has {len(true_tags)} tags, and {len(said_tags)} are predicted")
            true_spans.append(spans_of(true_tags, is_checked=True))
        hits, said, true = _counts(map(spans_of, predictions), true_spans)
        lenient = _counts((spans_of(tags, is_lenient=True) for tags in predictions), true_spans)
        kinds = sorted(said | true)
        return _entity_scores(hits.total(), said.total(), true.total()) | {
            "conlleval_f1": _entity_scores(*(counts.total() for counts in lenient))["f1"],
            "per_type": {kind: _entity_scores(hits[kind], said[kind], true[kind]) for kind in kinds},
        }


def _counts(said: Iterable[set[Span]], true: Iterable[set[Span]]) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """(entities found, said, true) of each type."""
    found: tuple[Counter[str], Counter[str], Counter[str]] = (Counter(), Counter(), Counter())
    for said_spans, true_spans in zip(said, true, strict=True):
        for counter, spans in zip(found, (said_spans & true_spans, said_spans, true_spans), strict=True):
            counter.update(span.kind for span in spans)
    return found


def _entity_scores(hits: int, said: int, true: int) -> Json:
    return {
        "precision": ratio(hits, said),
        "recall": ratio(hits, true),
        "f1": ratio(2 * hits, said + true),
        "support": true,
    }


def spans_of(tags: Sequence[str], *, is_checked: bool = False, is_lenient: bool = False) -> set[Span]:
    """The entities of one sentence in IOB2; `is_lenient`: an I-type that continues nothing begins one, as in conlleval.

    Raises:
        ValueError: a tag is not O, B-type or I-type; `is_checked`: or an I-type continues nothing.
    """
    spans = set()
    open_kind, start = None, 0
    for position, tag in enumerate([*tags, "O"]):
        prefix, _, kind = tag.partition("-")
        if tag != "O" and (prefix not in ("B", "I") or not kind):
            raise ValueError(f"a tag is O, B-type or I-type, got {tag!r}")
        if prefix == "I" and kind == open_kind:
            continue
        if open_kind is not None:
            spans.add(Span(open_kind, start, position))
        if is_checked and prefix == "I":
            raise ValueError(f"{tag} at word {position} continues no {kind}: references must be IOB2, each begun by B-")
        begins = prefix == "B" or (is_lenient and prefix == "I")
        open_kind, start = (kind if begins else None), position
    return spans


class WordErrorRate(StockMetric):
    """wer: edits between said and true words over the number of true words, summed over all texts; beyond 1 if much is added.

    Words are what blanks separate, as in jiwer: two white spaces or more are one blank, a lone tab or line break is part of
    its word. Case and punctuation count, so bring both sides to one form. The edits are counted by `edits.num_edits`.
    """

    def _info(self) -> MetricInfo:
        return _described(self, _TEXT, _TEXT, "Morris et al. 2004, From WER and RIL to MER and WIL")

    def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> Json:
        edits, words = _edits_and_length(predictions, references, spoken_words)
        return {"wer": ratio(edits, words), "edits": edits, "words": words}


class CharacterErrorRate(StockMetric):
    """cer: as WordErrorRate, of characters (code points, spaces inside a text among them, not those around it)."""

    def _info(self) -> MetricInfo:
        return _described(self, _TEXT, _TEXT, "Morris et al. 2004, From WER and RIL to MER and WIL")

    def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> Json:
        edits, characters = _edits_and_length(predictions, references, lambda text: list(text.strip()))
        return {"cer": ratio(edits, characters), "edits": edits, "characters": characters}


def spoken_words(text: str) -> list[str]:
    """What jiwer counts as the words of a transcript."""
    return [word for word in re.sub(r"\s\s+", " ", text).strip().split(" ") if word]


def _edits_and_length(
    predictions: Sequence[str], references: Sequence[str], cut: Callable[[str], list[str]]
) -> tuple[int, int]:
    pairs = [(cut(said), cut(true)) for said, true in zip(predictions, references, strict=True)]
    return sum(num_edits(said, true) for said, true in pairs), sum(len(true) for _, true in pairs)
