"""The list of slow tests and the table of the slowest: made from a measurement, and of tests that exist."""

from pathlib import Path

import pytest

from tests.support import slow_tests

MEASURED = "0.05 tests/test_a.py::test_one[x-1]\n2.00 tests/test_a.py::test_one[y-2]\n0.07 tests/test_b.py::test_two\n"
SECONDS = {"tests/test_a.py::test_one": [0.05, 2.0], "tests/test_b.py::test_two": [0.07]}


def test_the_mean_over_cases_decides_and_what_was_not_measured_stays() -> None:
    assert slow_tests.measured(MEASURED) == SECONDS
    known = {"tests/test_b.py::test_two", "tests/test_c.py::test_three"}
    assert slow_tests.slow_names(known, SECONDS) == {"tests/test_a.py::test_one", "tests/test_c.py::test_three"}


@pytest.mark.parametrize("is_whole", [True, False])
def test_the_table_keeps_its_reasons_and_waits_for_a_whole_measurement(
    is_whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = slow_tests.table({"tests/test_b.py::test_two": [3.0]}, {"tests/test_b.py::test_two": "it waits"})
    names, guide, measured = (tmp_path / name for name in ("names.txt", "guide.md", "measured.txt"))
    guide.write_text(before := f"# Guide\n<!-- slowest tests -->\n{table}<!-- end -->\nmore\n")
    names.write_text("tests/test_b.py::test_two\ntests/test_gone.py::test_four\n")
    if not is_whole:
        names.write_text("tests/test_c.py::test_three\n")
        (tmp_path / "tests").mkdir()
        (tmp_path / "tests" / "test_c.py").write_text("def test_three() -> None: ...\n")
    measured.write_text(MEASURED)
    for name, path in (("ROOT", tmp_path), ("NAMES", names), ("GUIDE", guide)):
        monkeypatch.setattr(slow_tests, name, path)
    slow_tests.main(str(measured))
    assert names.read_text() == "tests/test_a.py::test_one\n" + ("" if is_whole else "tests/test_c.py::test_three\n")
    said = capsys.readouterr().out
    if is_whole:
        assert slow_tests.reasons(guide.read_text()) == {
            "tests/test_a.py::test_one": "",
            "tests/test_b.py::test_two": "it waits",
        }
        assert "| 2 | 2 | `tests/test_a.py::test_one` |" in guide.read_text()
        assert "say why in CONTRIBUTING.md: tests/test_a.py::test_one" in said
        assert guide.read_text().startswith("# Guide\n")
        assert guide.read_text().endswith("<!-- end -->\nmore\n")
    else:
        assert guide.read_text() == before
        assert "the table is left as it is" in said


def test_every_listed_test_exists_and_every_row_of_the_table_says_why() -> None:
    known = slow_tests.reasons(slow_tests.GUIDE.read_text(encoding="utf-8"))
    assert [name for name in sorted(slow_tests.names_in_file() | known.keys()) if not slow_tests.exists(name)] == []
    assert [name for name, why in known.items() if not why] == []
