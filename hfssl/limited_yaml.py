"""YAML of any origin, read with the safe loader within limits of size, depth and aliases."""

from typing import Any

import yaml

_LARGEST = 1_000_000  # characters
_DEEPEST, _MOST_NODES = 50, 100_000  # aliases counted as what they stand for
_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader  # the same content, ten times as fast


def parsed_yaml(text: str) -> Any:
    """The content of a YAML text.

    Raises:
        yaml.YAMLError: it is no YAML.
        ValueError: it is larger or deeper than settings ever are.
    """
    if len(text) > _LARGEST:
        raise ValueError(f"it has {len(text):,} characters, and settings at most {_LARGEST:,}")
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ValueError(f"it is nested deeper than {_DEEPEST} levels")
    content = yaml.load(text, Loader=_LOADER)
    _num_values(content, {})
    return content


def _num_values(content: object, known: dict[int, int]) -> int:
    """Number of values in `content`, those of aliases as often as they are named."""
    if not isinstance(content, (dict, list)):
        return 1
    if id(content) not in known:
        known[id(content)] = _MOST_NODES  # one that holds itself
        inner = [*content.keys(), *content.values()] if isinstance(content, dict) else content
        known[id(content)] = 1 + sum(_num_values(value, known) for value in inner)
    if known[id(content)] > _MOST_NODES:
        raise ValueError(f"it stands for more than {_MOST_NODES:,} values")
    return known[id(content)]
