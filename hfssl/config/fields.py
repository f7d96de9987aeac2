"""Typed settings: the fields of a config dataclass as command-line flags and YAML keys, checked alike.

Standard library only, so that a mistyped flag is answered before torch is imported.
"""

import dataclasses
import types
import typing
from collections.abc import Sequence
from typing import Any, Literal

from hfssl.errors import ConfigError
from hfssl.run_dir import Json, JsonView

ResumeRule = Literal["fixed", "own_rule", "may_change"]


def option(default: Any, help: str, resume: ResumeRule = "fixed", *, basic: bool = False) -> Any:
    """A dataclass field with its help text.

    Args:
        default: the value used when neither preset, file nor command line names one.
        help: one line for `--help`.
        resume: whether a resumed run may change it: `fixed` no, `may_change` yes, `own_rule` decided where the setting is used.
        basic: whether `--help` shows it; `--help_all` shows every flag.
    """
    return dataclasses.field(default=default, metadata={"help": help, "resume": resume, "basic": basic})


def annotations_of(config: type) -> Json:
    """Field name -> resolved type, in the order of declaration."""
    hints = typing.get_type_hints(config)
    return {field.name: hints[field.name] for field in dataclasses.fields(config)}


def describe(annotation: Any) -> str:
    """A type in a user's words: `int`, `auto | never`, `2 numbers`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return " | ".join(str(argument) for argument in arguments)
    if origin in (types.UnionType, typing.Union):
        return " | ".join(describe(argument) for argument in arguments if argument is not type(None))
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return "names" if arguments[0] is str else "numbers"
        return f"{len(arguments)} numbers"
    if annotation is bool:
        return "true | false"
    return {int: "a whole number", float: "a number", str: "text"}[annotation]


def convert(name: str, value: Any, annotation: Any) -> Any:
    """`value` (a command-line text, or what YAML made of it) as `annotation`.

    Raises:
        ConfigError: names the setting, the value and what is allowed.
    """
    accepted, converted = _attempt(value, annotation)
    if not accepted:
        raise ConfigError(f"{name} must be {describe(annotation)}, got {value!r}")
    return converted


def _attempt(value: Any, annotation: Any) -> tuple[bool, Any]:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        if value is None or value == "none":
            return type(None) in arguments, None
        attempts = [_attempt(value, argument) for argument in arguments if argument is not type(None)]
        return next((attempt for attempt in attempts if attempt[0]), (False, None))
    if origin is Literal:
        same = [argument for argument in arguments if str(argument) == str(value)]  # the command line knows texts only
        return bool(same), same[0] if same else None
    if origin is tuple:
        return _attempt_tuple(value, arguments)
    return _attempt_scalar(value, annotation)


def _attempt_tuple(value: Any, arguments: tuple[Any, ...]) -> tuple[bool, Any]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        value = [value]
    if arguments[0] in (int, float):  # numbers may be joined by commas too
        value = [part for element in value for part in (element.split(",") if isinstance(element, str) else [element])]
    if arguments[-1] is Ellipsis:
        arguments = arguments[:1] * len(value)
    if len(value) != len(arguments):
        return False, None
    attempts = [_attempt(element, argument) for element, argument in zip(value, arguments, strict=True)]
    return all(accepted for accepted, _ in attempts), tuple(element for _, element in attempts)


def _attempt_scalar(value: Any, annotation: type) -> tuple[bool, Any]:
    if annotation is bool:
        texts = {"true": True, "false": False}
        return (True, value) if isinstance(value, bool) else (value in texts, texts.get(value))
    if isinstance(value, bool) or value is None:
        return False, None
    if annotation is str:
        return isinstance(value, str), value
    if not isinstance(value, (int, float, str)) or (annotation is int and isinstance(value, float)):
        return False, None
    try:
        return True, annotation(value)  # YAML 1.1 reads 2e-3 as a text: a number all the same
    except ValueError:
        return False, None


def to_plain(config: Any) -> Json:
    """A config as YAML can hold it: tuples become lists."""
    values: JsonView = dataclasses.asdict(config)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
