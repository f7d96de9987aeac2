"""What a model learned comes first in report and card, in pictures or in words; curves of training come after."""

import base64
import re
from pathlib import Path

import pytest
from PIL import Image

from hfssl.reporting.card import write_card
from hfssl.reporting.figure_kinds import figure_kind, in_order
from hfssl.reporting.report import write_report
from hfssl.run_dir import RunDir
from tests.support.finetuned_folder import finished_task
from tests.support.pictured_folder import BLANK, CONTINUED, CURVES, finished_study, language_model, pictured
from tests.test_report import Page

LEARNED = {  # what one kind of run draws -> what comes first
    ("reconstruction", "neighbours"): "reconstruction",
    ("rotations", "neighbours"): "rotations",
    ("puzzles", "neighbours"): "puzzles",
    ("contrast",): "contrast",
    ("neighbours",): "neighbours",
    ("confusion", "calibration", "mistakes", "scores"): "confusion",
    ("entities", "scores"): "entities",
    ("scatter", "scores"): "scatter",
    ("inpainting", "neighbours"): "inpainting",  # of a method that is yet to be written
}


def page_of(run_dir: RunDir) -> Page:
    return Page(write_report(run_dir).read_text(encoding="utf-8"))


def card_of(run_dir: RunDir) -> str:
    return write_card(run_dir).read_text(encoding="utf-8")


def shown(page: Page) -> list[bytes]:
    return [base64.b64decode(source.split(",")[1]) for source in page.values("src")]


def linked(card: str) -> list[str]:
    return re.findall(r"!\[.*?\]\(figures/(.*?)\.png\)", card)


def local_images(folder: Path) -> str:
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    return str(folder)


@pytest.mark.parametrize("names", LEARNED)
def test_the_first_figure_shows_what_was_learned_and_the_loss_comes_after(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    run_dir = pictured(tmp_path, [*CURVES, *names])
    page, card = page_of(run_dir), card_of(run_dir)
    first = (run_dir.figures / f"{LEARNED[names]}.png").read_bytes()
    figures = shown(page)
    assert figures[0] == first
    assert figures.count(first) == 1
    assert set(figures) == {path.read_bytes() for path in run_dir.figures.iterdir()}
    assert page.text.index("What the model learned") < page.text.index("Scores of the features")
    links = linked(card)
    assert links[0] == LEARNED[names]
    assert sorted(links) == sorted([*CURVES, *names])
    assert links.index("loss") > links.index(names[0])
    assert card.index("## What it learned") < card.index("## What it is for")


def test_without_a_figure_of_what_was_learned_the_loss_is_first(tmp_path: Path) -> None:
    run_dir = pictured(tmp_path, CURVES)
    page, card = page_of(run_dir), card_of(run_dir)
    assert shown(page)[0] == (run_dir.figures / "loss.png").read_bytes()
    assert "What the model learned" not in page.text
    assert "What it learned" not in card
    assert linked(card) == list(CURVES)


def test_a_classifier_begins_with_its_confusion(tmp_path: Path) -> None:
    run_dir = finished_task(tmp_path)
    assert shown(page_of(run_dir))[0] == (run_dir.figures / "confusion.png").read_bytes()
    assert linked(card_of(run_dir))[0] == "confusion"


def test_every_caption_is_a_sentence_and_curves_are_never_what_was_learned() -> None:
    names = {name for names in LEARNED for name in names}
    for name in (*names, *CURVES, "label_study"):
        caption = figure_kind(Path(f"run/figures/{name}.png")).caption
        assert caption[0].isupper()
        assert caption.endswith(".")
    for name in (*CURVES, "scores", "calibration"):
        assert not figure_kind(Path(f"run/figures/{name}.png")).is_learned
    assert not figure_kind(Path("run/eval/evaluate-x.png")).is_learned


def test_figures_of_evaluations_come_last() -> None:
    figures = [Path(name) for name in ("eval/a.png", "figures/loss.png", "figures/neighbours.png", "figures/new.png")]
    assert [path.stem for path in in_order(figures)] == ["new", "neighbours", "loss", "a"]


def test_rows_of_local_data_are_in_the_report_and_not_in_the_card(tmp_path: Path) -> None:
    argv = ["--dataset", local_images(tmp_path / "mine")]
    names = ["reconstruction", "neighbours", "contrast", "mistakes", "inpainting", "confusion", *CURVES]
    run_dir = pictured(tmp_path / "run", names, argv)
    assert len(shown(page_of(run_dir))) == len(names)
    assert linked(card_of(run_dir)) == ["confusion", *CURVES]


def test_a_language_model_begins_with_the_blanks_that_it_fills(tmp_path: Path) -> None:
    run_dir = language_model(tmp_path, [BLANK])
    page, card = page_of(run_dir), card_of(run_dir)
    place = page.text.index("the cat")
    assert page.text.index("What the model learned") < place < page.text.index("Scores of the features")
    for part in ("____", "on it", "50 %", "<b>", "true word:"):
        assert part in page.text
    assert "right" in page.values("class")
    assert "blank: the cat ____ on it\nguesses: sat 50%, <b> 25%; true: sat" in card
    assert card.index("the cat ____") < card.index("figures/loss.png")


def test_a_causal_model_begins_with_what_it_writes(tmp_path: Path) -> None:
    run_dir = language_model(tmp_path, [CONTINUED])
    page, card = page_of(run_dir), card_of(run_dir)
    assert "once upon" in page.text
    assert "a <i>time</i>" in page.text
    assert "i" not in page.tags
    assert "given: once upon\ncontinued: a <i>time</i>" in card


def test_texts_of_local_data_are_in_no_card(tmp_path: Path) -> None:
    argv = ["--dataset", local_images(tmp_path / "mine")]
    run_dir = language_model(tmp_path / "run", [BLANK, CONTINUED], argv)
    assert "the cat" in page_of(run_dir).text
    card = card_of(run_dir)
    assert "the cat" not in card
    assert "once upon" not in card


def test_a_label_study_begins_with_its_curves(tmp_path: Path) -> None:
    run_dir = finished_study(tmp_path)
    page = page_of(run_dir)
    assert shown(page) == [(run_dir.figures / "label_study.png").read_bytes()]
    for part in (
        "finished, a label study of 16 runs",
        "Whether pretraining paid",
        "+20.0 points",
        "20 labels",
        "1,000 labels",
        "0.650 to 0.750",
        "with 20 labels, +20.0 points",
        "a rate is an end of the grid",
        "8, and 8 trials for the learning rates",
    ):
        assert part in page.text
    assert "Not measured" not in page.text
    assert "hfssl evaluate" not in page.text
