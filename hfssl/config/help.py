"""Help texts: what a command does, an example, its flags with types or choices, and the value that each preset gives."""

import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from hfssl.config.flags import Flag
from hfssl.run_dir import JsonView

Presets = Mapping[str, JsonView]
"""Preset -> flag -> the value that it gives."""

_SECTIONS = ("", "data", "method", "loop", "optim")  # in the order of a first reading
_FLAG_WIDTH = 34
_WIDEST, _NARROWEST = 110, 60


def help_text(
    title: str, example: str, flags: Sequence[Flag], presets: Presets, *, all_flags: bool, notes: Iterable[str] = ()
) -> str:
    """The whole text of `--help`, or of `--help_all`."""
    shown = list(flags) if all_flags else sorted((flag for flag in flags if flag.is_basic), key=_importance)
    lines = [title, "", f"example: {example}", ""]
    for section in dict.fromkeys(flag.section for flag in shown) if all_flags else [""]:
        lines += [f"{section}:"] if section else []
        lines += [
            line for flag in shown if not all_flags or flag.section == section for line in _flag_lines(flag, presets)
        ]
        lines += [""]
    hidden = len(flags) - len(shown)
    lines += [f"{hidden} more flags: --help_all"] if hidden else []
    return "\n".join([*lines, *notes]).rstrip()


def _importance(flag: Flag) -> int:
    return _SECTIONS.index(flag.section)


def shown_value(value: object) -> str:
    """A setting as a command line takes it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return " ".join(map(shown_value, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _flag_lines(flag: Flag, presets: Presets) -> list[str]:
    width = min(max(shutil.get_terminal_size((100, 24)).columns, _NARROWEST), _WIDEST) - _FLAG_WIDTH - 2
    head = f"  --{flag.name} {flag.takes}"
    values = _values(flag, presets)
    body = textwrap.wrap(f"{flag.help} [{values}]" if values else flag.help, width, break_on_hyphens=False)
    first = [f"{head:<{_FLAG_WIDTH}}  {body[0]}"] if len(head) <= _FLAG_WIDTH else [head, _indented(body[0])]
    return first + [_indented(line) for line in body[1:]]


def _indented(line: str) -> str:
    return " " * (_FLAG_WIDTH + 2) + line


def _values(flag: Flag, presets: Presets) -> str:
    """`0.75` where every preset gives the same, else `demo 96; small 384`; nothing for a flag that is off unless given."""
    given = {preset: shown_value(values.get(flag.name, flag.default)) for preset, values in presets.items()}
    if len(set(given.values())) <= 1:
        value = next(iter(given.values()), shown_value(flag.default))
        return "" if value == "none" else value
    by_value: dict[str, list[str]] = {}
    for preset, value in given.items():
        if value != "none":
            by_value.setdefault(value, []).append(preset)
    return "; ".join(f"{', '.join(names)} {value}" for value, names in by_value.items())
