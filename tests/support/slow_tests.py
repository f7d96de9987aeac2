"""Which tests are slow, from what `pytest --durations_to FILE` measured.  python -m tests.support.slow_tests FILE

Writes tests/slow_tests.txt, by which tests are marked as slow, and the table of the slowest in CONTRIBUTING.md. The
reasons in the table stay; those of new rows are to be written by hand. A part of the tests may be measured too: what is
known of the others stays in tests/slow_tests.txt, and the table is left as it is.
"""

import ast
import re
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMES = ROOT / "tests" / "slow_tests.txt"
GUIDE = ROOT / "CONTRIBUTING.md"
LONGEST_SECONDS = 0.08  # of a test that is not slow: the mean over its cases
TABLE_ROWS = 20
_TABLE = re.compile(r"(?<=<!-- slowest tests -->\n).*?(?=<!-- end -->)", re.DOTALL)
_HEAD = "| seconds | cases | test | why |\n|---:|---:|---|---|\n"


def measured(text: str) -> dict[str, list[float]]:
    """Test function -> seconds of each of its cases."""
    seconds = defaultdict(list)
    for line in text.splitlines():
        spent, name = line.split(" ", 1)
        seconds[name.split("[")[0]].append(float(spent))
    return dict(seconds)


def slow_names(known: set[str], seconds: dict[str, list[float]]) -> set[str]:
    """The slow ones of what was measured, and those `known` that were not."""
    slow = {name for name, cases in seconds.items() if sum(cases) / len(cases) > LONGEST_SECONDS}
    return slow | (known - seconds.keys())


def reasons(guide: str) -> dict[str, str]:
    """Test function -> why it is slow, as the table says."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in _in_guide(guide).splitlines()[2:]]
    return {name.strip("`"): why for _, _, name, why in rows}


def table(seconds: dict[str, list[float]], known: dict[str, str]) -> str:
    """The rows of the slowest functions, all of their cases together."""
    slowest = sorted(seconds, key=lambda name: -sum(seconds[name]))[:TABLE_ROWS]
    rows = [
        f"| {sum(seconds[name]):.0f} | {len(seconds[name])} | `{name}` | {known.get(name, '')} |\n" for name in slowest
    ]
    return _HEAD + "".join(rows)


def names_in_file() -> set[str]:
    """What tests/slow_tests.txt lists."""
    return set(NAMES.read_text(encoding="utf-8").split()) if NAMES.exists() else set()


def exists(name: str) -> bool:
    """Whether there is a test function of that name."""
    file, function = name.split("::")
    if not (ROOT / file).is_file():
        return False
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return any(isinstance(node, ast.FunctionDef) and node.name == function for node in tree.body)


def _in_guide(guide: str) -> str:
    found = _TABLE.search(guide)
    assert found is not None, "CONTRIBUTING.md has no table of the slowest tests"
    return found.group()


def main(file: str) -> None:
    """Write both, and name the rows that lack a reason."""
    seconds, known = measured(Path(file).read_text(encoding="utf-8")), set(filter(exists, names_in_file()))
    names = slow_names(known, seconds)
    NAMES.write_text("".join(f"{name}\n" for name in sorted(names)), encoding="utf-8")
    print(f"{len(names)} slow tests in {NAMES.relative_to(ROOT)}")
    if not known <= seconds.keys():
        print("the table is left as it is: slow tests are missing in what was measured")
        return
    guide = GUIDE.read_text(encoding="utf-8")
    known_reasons = reasons(guide)
    GUIDE.write_text(_TABLE.sub(lambda _: table(seconds, known_reasons), guide), encoding="utf-8")
    for name, why in reasons(GUIDE.read_text(encoding="utf-8")).items():
        if not why:
            print(f"say why in CONTRIBUTING.md: {name}")


if __name__ == "__main__":
    main(sys.argv[1])
