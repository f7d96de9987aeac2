"""The scores of a run as they may leave the machine: numbers, and words that we wrote; nothing of the rows of somebody's data."""

from collections.abc import Mapping
from typing import Any

from hfssl.publishing.card import LOCAL_DATA

_NEVER = frozenset({"mistakes", "command", "model", "local"})  # rows of the data; names of this machine
_NAMES_OF_LOCAL_DATA = frozenset({"classes"})


def public_scores(content: Mapping[str, Any], data: str) -> dict[str, Any]:
    """What an eval/*.json holds, without samples, commands and local names.

    Args:
        data: what the card calls the run's data; an evaluation on other data says itself whether that is local.
    """
    is_local = content["local"] is not False if "local" in content else data == LOCAL_DATA
    named = content.get("data") if "local" in content else data
    kept = _without(content, _NEVER | (_NAMES_OF_LOCAL_DATA if is_local and "local" in content else frozenset()))
    return kept | {"data": LOCAL_DATA if is_local else named}


def _without(value: Any, names: frozenset[str]) -> Any:
    if isinstance(value, Mapping):
        return {name: _without(inner, names) for name, inner in value.items() if name not in names}
    return [_without(inner, names) for inner in value] if isinstance(value, list) else value
