"""The scores of a run as they may leave the machine: numbers, and words that we wrote; nothing of the rows of somebody's data."""

from collections.abc import Mapping
from typing import Any

from hfssl.reporting.card import LOCAL_DATA
from hfssl.run_dir import Json, JsonView

_NEVER = frozenset({"mistakes", "examples", "command", "model", "local"})  # rows of the data; names of this machine
_NAMES_OF_LOCAL_DATA = frozenset({"classes"})


def public_scores(content: JsonView, data: str) -> Json:
    """What an eval/*.json holds, without samples, commands and local names.

    Args:
        data: what the card calls the run's data; an evaluation on other data says itself whether that is local.
    """
    if "local" not in content:
        return _without(content, _NEVER) | {"data": data}
    if content["local"] is False:
        return dict(_without(content, _NEVER))
    return _without(content, _NEVER | _NAMES_OF_LOCAL_DATA) | {"data": LOCAL_DATA}


def _without(value: object, names: frozenset[str]) -> Any:
    if isinstance(value, Mapping):
        return {name: _without(inner, names) for name, inner in value.items() if name not in names}
    return [_without(inner, names) for inner in value] if isinstance(value, list) else value
