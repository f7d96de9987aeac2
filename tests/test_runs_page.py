"""index.html of the runs: every run once, whole without JavaScript, with nothing from outside and nobody's markup."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from hfssl.commands.runs import runs
from hfssl.commands.runs_config import RunsConfig
from hfssl.run_dir import RunDir
from tests.support.run_folder import begun, finished, training_row

HOSTILE = "<img src=x onerror=alert(1)>\"'&</script><script>alert(2)"


class Table(HTMLParser):
    """The table as it stands in the file: its cells, links and attributes; scripts apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.scripts: list[tuple[dict[str, str], str]] = []
        self._stack: list[str] = []
        self.feed(text)
        self.rows = [[cell.strip() for cell in row] for row in self.rows]

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        if tag not in ("meta", "input"):
            self._stack.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "script":
            self.scripts.append(({name: value or "" for name, value in attributes}, ""))

    def handle_endtag(self, tag: str) -> None:
        assert self._stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._stack[-1:] == ["script"]:
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif self.rows and self.rows[-1] and "table" in self._stack:
            self.rows[-1][-1] += data

    def values(self, tag: str, name: str) -> list[str]:
        return [value for one, key, value in self.attributes if (one, key) == (tag, name)]


def page(folder: Path, sort: Any = "changed") -> tuple[str, Table]:
    text = runs(RunsConfig(folder=str(folder), sort=sort)).read_text(encoding="utf-8")
    return text, Table(text)


def curves_of(table: Table) -> list[dict[str, Any]]:
    (content,) = [text for attributes, text in table.scripts if attributes.get("type") == "application/json"]
    found: list[dict[str, Any]] = json.loads(content)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    finished(tmp_path / "mae-000")
    begun(tmp_path / "mae-001")
    (tmp_path / "notes").mkdir()
    return tmp_path


def test_the_page_holds_every_run_once_without_javascript(folder: Path) -> None:
    _, table = page(folder, "name")
    header, *rows = table.rows
    assert header[1:] == [*("name", "state", "method", "data", "steps", "kNN", "linear", "score", "time", "changed")]
    assert [row[1] for row in rows] == ["mae-000", "mae-001", "notes"]
    assert rows[0][2:9] == ["finished", "mae", "demo:digits", "40/40", "0.800", "0.850", ""]
    assert rows[1][2:7] == ["interrupted", "mae", "demo:digits", "20/40", "0.700*"]
    assert rows[2][2:4] == ["broken", "no run: it has no config.yaml"]
    hidden = [tag for tag, name, _ in table.attributes if name == "hidden"]
    assert hidden == ["section", "div", "input", "input"]  # what needs JavaScript stays out of sight


def test_the_page_needs_nothing_from_outside(folder: Path) -> None:
    text, table = page(folder)
    assert not re.search(
        r"https?:|//[a-z]|@import|url\(|srcset|\bfetch\(|XMLHttp|import\(", re.sub(r"// [A-Z].*", "", text)
    )
    assert not {"link", "img", "iframe", "object", "embed", "base", "form"} & set(table.tags)
    assert not table.values("script", "src")
    (policy,) = [value for value in table.values("meta", "content") if "default-src" in value]
    assert policy.startswith("default-src 'none';")
    assert table.values("a", "href") == []


def test_reports_are_linked_relative_to_the_page_where_they_are(tmp_path: Path) -> None:
    names = ("mae-000", "javascript:alert(1)", "a #b?c%20", "größe")
    for name in names:
        begun(tmp_path / name).report_file.write_text("")
    begun(tmp_path / "without")
    _, table = page(tmp_path)
    links = table.values("a", "href")
    assert len(links) == len(names)
    assert all(link.startswith("./") for link in links)
    assert {unquote(link) for link in links} == {f"./{name}/report.html" for name in names}
    assert not re.search(r"[?#]", "".join(links))


def test_names_and_data_are_text_and_no_markup(tmp_path: Path) -> None:
    run_dir = begun(tmp_path / HOSTILE.replace("/", "⁄"))
    config = run_dir.read_config()
    config["data"]["dataset"] = config["recipe"] = HOSTILE
    run_dir.write_config(config)
    (tmp_path / "<b>odd</b>".replace("/", "⁄")).mkdir()
    text, table = page(tmp_path)
    assert text.count("alert(1)") >= 3
    assert "<img" not in text
    assert {attributes.get("type", "") for attributes, _ in table.scripts} == {"application/json", ""}
    assert len(table.scripts) == 2
    assert not {name for _, name, _ in table.attributes if name.startswith("on")}
    assert {"img", "b"} & set(table.tags) == set()
    assert HOSTILE in table.values("tr", "data-method")
    assert HOSTILE in table.values("td", "title")


def test_curves_are_those_of_the_runs_in_the_order_of_the_rows_and_thin(tmp_path: Path) -> None:
    run_dir = begun(tmp_path / "a", steps=())
    rows = [json.dumps(training_row(step, loss=1 / (step + 1))) for step in range(1, 5001)]
    run_dir.metrics_file.write_text("\n".join([*rows, json.dumps(training_row(5001, loss=float("nan"))), ""]))
    begun(tmp_path / "b")
    (tmp_path / "c").mkdir()
    _, table = page(tmp_path, "name")
    first, second, third = curves_of(table)
    steps, values = first["training loss"]
    assert len(steps) == len(values) <= 300
    assert (steps[0], steps[-1], values[0]) == (1, 5000, 0.5)
    assert second["kNN"] == [[0, 10, 20], [0.6, 0.65, 0.7]]
    assert third == {}
    assert table.values("input", "data-run") == ["0", "1"]  # nothing to compare of the third


def test_two_hundred_long_runs_are_a_page_of_a_few_megabytes(tmp_path: Path) -> None:
    text = "".join(json.dumps(training_row(step)) + "\n" for step in range(1, 1001))
    first = begun(tmp_path / "run-000", steps=())
    first.metrics_file.write_text(text)
    for number in range(1, 200):
        other = RunDir(tmp_path / f"run-{number:03d}")
        other.path.mkdir()
        other.config_file.write_bytes(first.config_file.read_bytes())
        other.metrics_file.write_text(text)
    index = runs(RunsConfig(folder=str(tmp_path)))
    assert index.stat().st_size < 3_000_000
    assert len(Table(index.read_text(encoding="utf-8")).rows) == 201


def test_cells_carry_what_they_are_sorted_by(folder: Path) -> None:
    _, table = page(folder, "knn")
    (sorted_by,) = [
        dict(zip(("column", "sort"), values, strict=True))
        for values in re.findall(
            r'data-column="(\w+)" class="number" aria-sort="(\w+)"', (folder / "index.html").read_text()
        )
    ]
    assert sorted_by == {"column": "knn", "sort": "descending"}
    assert [row[1] for row in table.rows[1:]] == ["mae-000", "mae-001", "notes"]
    ranks = re.findall(r'data-of="knn" data-rank="(.*?)"', (folder / "index.html").read_text())
    assert [float(rank) for rank in ranks] == [-0.8, -0.7]


def test_the_page_is_replaced_as_a_whole(folder: Path) -> None:
    page(folder)
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
    text, _ = page(folder)
    assert text.rstrip().endswith("</html>")
