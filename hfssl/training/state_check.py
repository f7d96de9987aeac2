"""Whether the content of train_state.json is one that a run wrote: names, types and ranges."""

import math
from collections.abc import Callable, Collection
from typing import TypeGuard

from hfssl.run_dir import Json

_REQUIRED = ("step", "max_steps", "num_rows", "loss_scale")


def what_is_no_state(content: object, known: Collection[str]) -> str | None:
    """Why `content` cannot be the state of a run, whose names are `known`; None if it can."""
    if not isinstance(content, dict):
        return "it holds no object"
    unknown = sorted(str(name) for name in content if name not in known)
    if unknown:
        return f"unknown keys: {', '.join(unknown[:5])}"
    missing = [name for name in _REQUIRED if name not in content]
    if missing:
        return f"missing keys: {', '.join(missing)}"
    wrong = next((name for name, value in content.items() if not _CHECKS[name](value)), None)
    if wrong is not None:
        return f"{wrong} is {str(content[wrong])[:60]!r}"
    return _contradiction(content)


def _contradiction(state: Json) -> str | None:
    if state["step"] > state["max_steps"]:
        return f"step {state['step']} of {state['max_steps']}"
    best = state.get("best_step")
    return f"best_step {best} after step {state['step']}" if best is not None and best > state["step"] else None


def _is_number(value: object) -> TypeGuard[float]:
    """Infinite and NaN figures are what a diverged run logs."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_scale(value: object) -> bool:
    return _is_number(value) and math.isfinite(value) and value > 0


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _list_of(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _mapping_to(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def _none_or(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or check(value)


_CHECKS: dict[str, Callable[[object], bool]] = {
    "step": _is_count,
    "max_steps": _is_count,
    "num_rows": _is_count,
    "loss_scale": _is_scale,
    "skipped_steps": _is_count,
    "skipped_in_a_row": _is_count,
    "bad_rows": _list_of(_is_count),
    "interval": _mapping_to(_is_number),
    "first_figures": _mapping_to(_is_number),
    "held_signs": _mapping_to(_list_of(_is_number)),
    "best_step": _none_or(_is_count),
    "best_reached": _none_or(_list_of(_is_number)),
    "looks_since_best": _is_count,
    "samples_seen": _is_count,
    "mixed_precision": _is_text,
    "data_path": _is_text,
    "config_digest": _is_text,
    "versions": _mapping_to(_is_text),
}
