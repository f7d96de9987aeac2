"""Print the commands of README.md that install hfssl and what follows them, letter by letter: one to run it, one to test it."""

import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"
NUM_COMMANDS = 2


def commands(text: str) -> list[str]:
    """The fenced blocks without a language that begin with `pip install`."""
    return re.findall(r"^```\n(pip install .*?)^```$", text, re.DOTALL | re.MULTILINE)


if __name__ == "__main__":
    found = commands(README.read_text(encoding="utf-8"))
    if len(found) != NUM_COMMANDS:
        sys.exit(f"{README} has {len(found)} fenced blocks that begin with `pip install`, not {NUM_COMMANDS}")
    print("".join(found), end="")
