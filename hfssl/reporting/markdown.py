"""Text of users in Markdown: shown as it is written, never taken for markup, HTML or a link."""

import re
import unicodedata

LONGEST = 200
_MARKUP = re.compile(r"[\\`*{}\[\]<>#!|~$&@^=]|(?<![^\W_])_|_(?![^\W_])|(?<=/)/|(?<=www)\.", re.IGNORECASE)


class Trusted(str):
    """Markdown that we wrote ourselves: `inline` leaves it as it is."""


def inline(value: object) -> str:
    """A value as literal text of one line: what could be markup becomes a character reference."""
    if isinstance(value, Trusted):
        return value
    text = one_line(str(value))
    if len(text) > LONGEST:
        text = text[: LONGEST - 1] + "…"
    return _MARKUP.sub(lambda match: f"&#{ord(match[0])};", text)


def one_line(text: str) -> str:
    """Without line breaks and without characters that control how others are shown (direction, terminals)."""
    kept = (" " if char.isspace() else char for char in text if char.isspace() or unicodedata.category(char)[0] != "C")
    return " ".join("".join(kept).split())


def code_block(text: str, language: str) -> Trusted:
    """A fenced block whose fence is longer than any run of backticks inside."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Trusted(f"{fence}{language}\n{text.rstrip()}\n{fence}")


def table(header: list[str], lines: list[list[str]]) -> Trusted:
    """A table of literal cells."""
    rows = [[inline(cell) for cell in line] for line in [header, *lines]]
    rows.insert(1, ["---"] * len(header))
    return Trusted("\n".join(f"| {' | '.join(row)} |" for row in rows))
