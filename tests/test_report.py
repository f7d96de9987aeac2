"""The report: one file that needs nothing beside it and says what the folder says, finished or not."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hfssl.commands.report import report
from hfssl.commands.report_config import ReportConfig
from hfssl.errors import ConfigError
from hfssl.evaluation.intervals import interval_of
from hfssl.figures import curves as figures
from hfssl.reporting.facts import facts_of
from hfssl.reporting.kinds import kind_of
from hfssl.reporting.report import write_report
from hfssl.run_dir import RunDir
from tests.support.run_folder import begun, evaluation, finished, training_row, validation_row

_VOID = {"meta", "img", "br", "link", "input", "hr", "source", "embed"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails where tags do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attributes]
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, text: str) -> None:
        self.text += "" if self._open[-1:] == ["style"] else f" {text}"

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.attributes if key == name]


def read(run_dir: RunDir) -> tuple[str, Page]:
    text = write_report(run_dir).read_text(encoding="utf-8")
    return text, Page(text)


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    made = finished(tmp_path / "run")
    figures.loss_curve(made)
    figures.watch_curve(made)
    made.write_eval("evaluate-stripes", evaluation("stripes", ["left", "right"], local=True))
    return made


def test_a_report_needs_nothing_beside_it(run_dir: RunDir) -> None:
    text, page = read(run_dir)
    assert run_dir.report_file == run_dir.path / "report.html"
    assert all(source.startswith("data:image/png;base64,") for source in page.values("src"))
    assert set(page.values("href")) <= {f"#{name}" for name in page.values("id")}
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(page.tags)
    without_images = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]*", "", text)
    assert not re.search(r"https?:|url\(|@import|srcset", without_images)


def test_every_picture_of_the_folder_is_in_the_report(run_dir: RunDir) -> None:
    figures.label_curves(
        run_dir.path / "eval" / "evaluate-stripes.png", run_dir.read_eval("evaluate-stripes")["rows"], ""
    )
    _, page = read(run_dir)
    embedded = {base64.b64decode(source.split(",")[1]) for source in page.values("src")}
    files = {path.read_bytes() for path in run_dir.path.glob("*/*.png")}
    assert len(files) == 4
    assert embedded == files


def test_scores_stand_with_their_floors_and_intervals(run_dir: RunDir) -> None:
    _, page = read(run_dir)
    for shown in ("raw pixels", "PCA of pixels", "untrained", "100 labels", "0.800", "0.688 to 0.713", "+20.0 points"):
        assert shown in page.text
    low, high = interval_of(0.8, 500)
    assert (round(low, 4), round(high, 4)) == (0.7627, 0.8327)  # Wilson's formula by hand
    assert f"{low:.3f} to {high:.3f}" in page.text
    assert "hfssl evaluate --model" in page.text  # the command behind the further table
    assert f"python recipes/mae.py --output_dir {run_dir.path}" in page.text


def test_warnings_come_first(run_dir: RunDir) -> None:
    table = run_dir.read_summary()
    assert table is not None
    assert kind_of(facts_of(run_dir)).warnings() == []
    table["rows"][-1] |= {"knn": 0.5, "warnings": ["collapse: features use only 1.0 dimensions"]}
    run_dir.write_summary(table)
    run_dir.append_metrics(
        training_row(50, skipped_steps=3, bad_rows=2) | {"time/data_wait": 1.0, "time/seconds": 90.0}
    )
    said = kind_of(facts_of(run_dir)).warnings()
    _, page = read(run_dir)
    assert len(said) == 5
    for words, sentence in zip(
        ("3 of 50 steps", "2 rows", "waiting", "collapse", "kNN 0.500 < 0.600"), said, strict=True
    ):
        assert words in sentence
        assert -1 < page.text.find(sentence) < page.text.find("Scores of the features")


def test_a_killed_run_has_a_report_with_curves_and_no_scores(tmp_path: Path) -> None:
    _, page = read(begun(tmp_path))
    assert "not finished, at step 20 of 40" in page.text
    assert "Not measured yet: the table is made when the run is finished." in page.text
    assert len(page.values("src")) == 2
    assert "0:00:10" in page.text  # two rows of 5 s, and two to go


def test_a_run_that_logged_nothing_has_a_report(tmp_path: Path) -> None:
    run_dir = begun(tmp_path, steps=(), held_out=False)
    (tmp_path / "environment.json").unlink()
    _, page = read(run_dir)
    assert "not finished, at step 0 of 40" in page.text
    assert page.values("src") == []


def test_a_run_without_labels_says_so(tmp_path: Path) -> None:
    _, page = read(finished(tmp_path, labels=False, held_out=False))
    assert "no scores: the data has no labels" in page.text
    assert "12.5" in page.text


def test_what_users_wrote_is_text_and_no_markup(tmp_path: Path) -> None:
    hostile = "<img src=x onerror=alert(1)>\"'&<script>"
    run_dir = finished(tmp_path, ["--dataset_config", hostile])
    run_dir.write_eval("evaluate-x", evaluation(hostile, [hostile], local=True))
    run_dir.write_eval("other", {"note": hostile})
    _, page = read(run_dir)
    assert "script" not in page.tags
    assert "onerror" not in {name for name, _ in page.attributes}
    assert page.text.count(hostile) >= 3


def test_facts_come_from_the_rows_they_belong_to(tmp_path: Path) -> None:
    run_dir = begun(tmp_path, ["--num_epochs", "4", "--max_steps", "none"])
    run_dir.append_metrics(validation_row(25))
    facts = facts_of(run_dir)
    assert (facts.step, facts.num_rows, facts.seconds, facts.samples_seen) == (20, 1297, 10.0, 2560)
    assert facts.max_steps == 41  # 4 epochs of 1,297 rows in batches of 128
    assert facts.waiting == pytest.approx(0.02)


def test_a_report_is_made_again_from_the_folder(tmp_path: Path) -> None:
    written = report(ReportConfig(run=str(begun(tmp_path / "run").path)))
    assert [path.name for path in written] == ["report.html", "README.md"]
    with pytest.raises(ConfigError, match="is not a run folder"):
        report(ReportConfig(run=str(tmp_path)))
    with pytest.raises(ConfigError, match="name the run folder with --run"):
        ReportConfig()
