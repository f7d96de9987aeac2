"""Metrics against scikit-learn, jiwer, published examples and plain formulas; what is undefined is None."""

import importlib.util
from itertools import pairwise
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from hfssl.evaluation.edits import num_edits
from hfssl.evaluation.metrics import (
    F1,
    Accuracy,
    CharacterErrorRate,
    EntityF1,
    MatthewsCorrelation,
    PearsonSpearman,
    QuestionAnswering,
    Span,
    WordErrorRate,
    answer_words,
    gold_words,
    spans_of,
)

TRUE, SAID = [0, 0, 1, 1, 2, 2, 2, 0], [0, 1, 1, 1, 2, 0, 2, 1]


def test_accuracy_takes_lists_arrays_and_tensors_at_once_or_in_batches() -> None:
    for kind in (list, np.array, torch.tensor):
        assert Accuracy().compute(predictions=kind(SAID), references=kind(TRUE)) == {"accuracy": 5 / 8}
    metric, other = Accuracy(), Accuracy()
    metric.add_batch(predictions=SAID[:3], references=TRUE[:3])
    other.add_batch(predictions=[1], references=[1])
    metric.add_batch(predictions=SAID[3:], references=TRUE[3:])
    assert (metric.compute(), other.compute()) == ({"accuracy": 5 / 8}, {"accuracy": 1.0})


def test_nothing_is_written_below_the_home_folder(tmp_path: Path) -> None:
    metric = Accuracy(cache_dir=str(tmp_path / "cache"))
    metric.add_batch(predictions=[1, 1], references=[1, 0])
    assert list(tmp_path.iterdir()) == []
    assert metric.compute() == {"accuracy": 0.5}
    assert list(tmp_path.iterdir()) == []


def test_no_recipe_has_the_name_of_a_library() -> None:
    recipes = [file.stem for file in (Path(__file__).parents[1] / "recipes").glob("*.py")]
    assert len(recipes) > 15
    assert [name for name in recipes if importlib.util.find_spec(name) is not None] == []


def test_f1_is_scikit_learns_macro_average_and_a_class_never_said_has_0() -> None:
    found = F1().compute(predictions=SAID, references=TRUE)
    assert found["f1"] == pytest.approx(f1_score(TRUE, SAID, average="macro"))
    assert found["per_class"] == pytest.approx(f1_score(TRUE, SAID, average=None))
    assert F1().compute(predictions=[0, 0, 0], references=[0, 0, 1]) == {
        "f1": pytest.approx(0.4),
        "per_class": [0.8, 0.0],
    }
    # the class 1 neither occurs nor is said: no part of the mean, as in scikit-learn
    absent = F1().compute(predictions=[0, 2, 2], references=[0, 2, 0], num_classes=4)
    assert absent["per_class"] == [pytest.approx(2 / 3), None, pytest.approx(2 / 3), None]
    assert absent["f1"] == pytest.approx(f1_score([0, 2, 0], [0, 2, 2], average="macro"))


def test_f1_refuses_labels_that_are_no_classes() -> None:
    with pytest.raises(ValueError, match="from 0 to 2, got -100 to 1"):
        F1().compute(predictions=[0, 1], references=[1, -100], num_classes=3)
    with pytest.raises(ValueError, match="from 0 to 1, got 0 to 2"):
        F1().compute(predictions=[0, 2], references=[0, 1], num_classes=2)


def test_matthews_correlation_is_its_formula() -> None:
    true, said = [1] * 6 + [0] * 4, [1, 1, 1, 1, 0, 0, 1, 0, 0, 0]
    hits, false_alarms, misses, rejected = 4, 1, 2, 3
    root = ((hits + false_alarms) * (hits + misses) * (rejected + false_alarms) * (rejected + misses)) ** 0.5
    expected = (hits * rejected - false_alarms * misses) / root
    assert MatthewsCorrelation().compute(predictions=said, references=true) == {
        "matthews_correlation": pytest.approx(expected)
    }
    several = MatthewsCorrelation().compute(predictions=SAID, references=TRUE)["matthews_correlation"]
    one_hot_said, one_hot_true = np.eye(3)[SAID], np.eye(3)[TRUE]  # Gorodkin 2004
    covariance = ((one_hot_said - one_hot_said.mean(0)) * (one_hot_true - one_hot_true.mean(0))).sum()
    spreads = [((side - side.mean(0)) ** 2).sum() for side in (one_hot_said, one_hot_true)]
    assert several == pytest.approx(covariance / np.sqrt(np.prod(spreads)))
    assert MatthewsCorrelation().compute(predictions=[1, 1], references=[0, 1]) == {"matthews_correlation": 0.0}


def test_correlations_are_their_formulas_and_none_of_a_constant() -> None:
    said, true = [1.0, 2.0, 2.0, 9.0], [1.0, 3.0, 2.0, 4.0]
    found = PearsonSpearman().compute(predictions=said, references=true)
    assert found["pearson"] == pytest.approx(np.corrcoef(said, true)[0, 1])
    assert found["spearman"] == pytest.approx(np.corrcoef([1, 2.5, 2.5, 4], [1, 3, 2, 4])[0, 1])
    nothing = {"pearson": None, "spearman": None}
    assert PearsonSpearman().compute(predictions=[1.0, 1.0], references=[0.0, 1.0]) == nothing
    assert PearsonSpearman().compute(predictions=[1.0], references=[0.0]) == nothing


def test_answers_are_compared_as_in_squad() -> None:
    assert answer_words("The  U.S.A., an\tape's (a) theatre") == ["usa", "apes", "theatre"]
    golds = [["Denver Broncos", "The Broncos"], ["Santa Clara, California"], ["1848"]]
    found = QuestionAnswering().compute(predictions=["the broncos!", "Santa Clara", "in 1850"], references=golds)
    # Santa Clara: precision 2/2, recall 2/3
    assert found == {"exact_match": pytest.approx(1 / 3), "f1": pytest.approx((1 + 0.8 + 0) / 3)}


def test_repeated_words_of_an_answer_count_as_often_as_they_are_shared() -> None:
    found = QuestionAnswering().compute(predictions=["new york new york"], references=[["york new york"]])
    assert found["f1"] == pytest.approx(2 * (3 / 4) * (3 / 3) / (3 / 4 + 3 / 3))


def test_an_empty_answer_is_right_where_no_answer_is() -> None:
    found = QuestionAnswering().compute(predictions=["", "no", ""], references=[[], [""], ["yes"]])
    assert found == {"exact_match": pytest.approx(1 / 3), "f1": pytest.approx(1 / 3)}


def test_a_gold_answer_of_which_nothing_is_left_counts_only_without_another() -> None:
    golds = [["The", "Broncos"], ["the", "..."], ["", "a yes"]]
    found = QuestionAnswering().compute(predictions=["", "", "yes"], references=golds)
    assert found == {"exact_match": pytest.approx(2 / 3), "f1": pytest.approx(2 / 3)}
    assert gold_words(golds[0]) == [["broncos"]]
    assert gold_words(["the"]) == gold_words([]) == [[]]


def test_entities_are_those_of_seqevals_example() -> None:
    true = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    said = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    found = EntityF1().compute(predictions=said, references=true)
    assert (found["precision"], found["recall"], found["f1"], found["support"]) == (0.5, 0.5, 0.5, 2)
    assert found["per_type"] == {
        "MISC": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1},
        "PER": {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1},
    }


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("B-X I-X O B-X", {Span("X", 0, 2), Span("X", 3, 4)}),
        ("B-X B-X I-X", {Span("X", 0, 1), Span("X", 1, 3)}),
        ("B-X I-Y I-X", {Span("X", 0, 1)}),
        ("I-X I-X O", set()),
        ("B-X-Y I-X-Y", {Span("X-Y", 0, 2)}),
        ("O O", set()),
        ("", set()),
    ],
)
def test_spans_are_strict_iob2(tags: str, spans: set[Span]) -> None:
    assert spans_of(tags.split()) == spans


def test_an_entity_of_the_wrong_type_or_length_is_a_miss_and_a_false_alarm() -> None:
    found = EntityF1().compute(predictions=[["B-X", "O", "B-Y", "O"]], references=[["B-X", "I-X", "B-X", "O"]])
    assert (found["precision"], found["recall"], found["f1"]) == (0.0, 0.0, 0.0)
    found = EntityF1().compute(predictions=[["O", "O"]], references=[["B-X", "O"]])
    assert (found["precision"], found["recall"], found["f1"]) == (None, 0.0, 0.0)
    found = EntityF1().compute(predictions=[["O"], []], references=[["O"], []])
    nothing = {"precision": None, "recall": None, "f1": None, "conlleval_f1": None, "support": 0, "per_type": {}}
    assert found == nothing


def conlleval_f1(said: list[list[str]], true: list[list[str]]) -> float:
    """The shared task's rules for starts and ends, tag by tag."""

    def chunks(sentences: list[list[str]]) -> set[tuple[int, int, int, str]]:
        found = set()
        for number, tags in enumerate(sentences):
            parts = [("O", ""), *((tag[0], tag[2:]) for tag in tags), ("O", "")]
            start = 0
            for place, ((before, old), (now, new)) in enumerate(pairwise(parts)):
                if before != "O" and (now != "I" or new != old):
                    found.add((number, start, place, old))
                if now == "B" or (now == "I" and (before == "O" or new != old)):
                    start = place
        return found

    ours, theirs = chunks(said), chunks(true)
    return 2 * len(ours & theirs) / (len(ours) + len(theirs))


def test_the_second_f1_is_conllevals_and_the_first_strict() -> None:
    true = [["B-X", "I-X", "O", "B-Y"], ["B-X", "O"]]
    said = [["I-X", "I-X", "O", "B-Y"], ["B-X", "I-Y"]]
    found = EntityF1().compute(predictions=said, references=true)
    assert found["f1"] == pytest.approx(2 * 2 / (2 + 3))  # the first X is begun by an I
    assert found["conlleval_f1"] == pytest.approx(2 * 3 / (4 + 3)) == pytest.approx(conlleval_f1(said, true))
    generator = np.random.default_rng(0)
    said = [list(generator.choice(["O", "B-X", "I-X", "B-Y", "I-Y"], 12)) for _ in range(200)]
    true = [list(generator.choice(["O", "B-X", "I-X", "B-Y", "I-Y"], 12)) for _ in range(200)]
    for row in true:
        for place, tag in enumerate(row):
            if tag[0] == "I" and (not place or row[place - 1][2:] != tag[2:]):
                row[place] = f"B-{tag[2:]}"
    found = EntityF1().compute(predictions=said, references=true)
    assert found["conlleval_f1"] == pytest.approx(conlleval_f1(said, true))
    assert found["f1"] != pytest.approx(found["conlleval_f1"])
    same = EntityF1().compute(predictions=true, references=true)
    assert same["f1"] == same["conlleval_f1"] == 1.0


def test_tags_that_can_not_be_read_are_refused() -> None:
    with pytest.raises(ValueError, match="sentence 1 has 2 tags, and 1 are predicted"):
        EntityF1().compute(predictions=[["O"], ["O"]], references=[["O"], ["O", "O"]])
    with pytest.raises(ValueError, match="I-X at word 1 continues no X"):
        EntityF1().compute(predictions=[["O", "O"]], references=[["O", "I-X"]])
    with pytest.raises(ValueError, match="got 'S-X'"):
        spans_of(["S-X"])


def test_edits_are_those_of_the_textbook() -> None:
    pairs = {
        ("kitten", "sitting"): 3,
        ("", "abc"): 3,
        ("abc", ""): 3,
        ("", ""): 0,
        ("ab", "ba"): 2,
        ("flaw", "lawn"): 2,
    }
    assert {pair: num_edits(*pair) for pair in pairs} == pairs


def test_error_rates_are_jiwers() -> None:
    generator = np.random.default_rng(0)
    said, true = (
        ["".join(generator.choice(list("abc  "), generator.integers(3, 30))) + "x" for _ in range(50)] for _ in range(2)
    )
    assert WordErrorRate().compute(predictions=said, references=true)["wer"] == pytest.approx(jiwer.wer(true, said))
    assert CharacterErrorRate().compute(predictions=said, references=true)["cer"] == pytest.approx(
        jiwer.cer(true, said)
    )


@pytest.mark.parametrize("said", ["a\tb c", "a \t b c", " a\n\nb\u00a0c ", "a\tb  c\t", "a\u2003\u2003b c", "\t"])
def test_words_end_where_jiwer_ends_them(said: str) -> None:
    found = WordErrorRate().compute(predictions=[said, "x\ty"], references=["a b c", "x\ty"])
    assert found["wer"] == pytest.approx(jiwer.wer(["a b c", "x\ty"], [said, "x\ty"]))
    characters = CharacterErrorRate().compute(predictions=[said], references=["a\tb c"])
    assert characters["cer"] == pytest.approx(jiwer.cer(["a\tb c"], [said]))


def test_word_errors_are_summed_before_they_are_divided() -> None:
    found = WordErrorRate().compute(predictions=["a b c d", "z", ""], references=["a b c", "y", "e f"])
    assert found == {"wer": 4 / 6, "edits": 4, "words": 6}
    found = WordErrorRate().compute(predictions=["well that was much"], references=["no"])
    assert found["wer"] == 4.0
    assert WordErrorRate().compute(predictions=["a b"], references=[""]) == {"wer": None, "edits": 2, "words": 0}


@pytest.mark.parametrize(
    ("metric", "found"),
    [
        (Accuracy, {"accuracy": None}),
        (F1, {"f1": None, "per_class": []}),
        (MatthewsCorrelation, {"matthews_correlation": None}),
        (PearsonSpearman, {"pearson": None, "spearman": None}),
        (QuestionAnswering, {"exact_match": None, "f1": None}),
        (
            EntityF1,
            {"precision": None, "recall": None, "f1": None, "conlleval_f1": None, "support": 0, "per_type": {}},
        ),
        (WordErrorRate, {"wer": None, "edits": 0, "words": 0}),
        (CharacterErrorRate, {"cer": None, "edits": 0, "characters": 0}),
    ],
)
def test_of_no_rows_nothing_is_known(metric: Any, found: dict[str, Any]) -> None:
    assert metric().compute(predictions=[], references=[]) == found
