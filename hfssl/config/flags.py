"""Flags: the fields of config dataclasses as the command line, help texts and shell completion see them."""

import argparse
import dataclasses
import difflib
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NoReturn, Union, get_args, get_origin

from hfssl.config.fields import annotations_of
from hfssl.errors import ConfigError
from hfssl.run_dir import Json


@dataclasses.dataclass(frozen=True)
class Flag:
    """One setting. section: where a YAML file holds it; is_basic: whether `--help` shows it first."""

    name: str
    section: str
    annotation: Any
    default: Any
    help: str
    is_basic: bool

    @property
    def takes(self) -> str:
        """What stands behind the flag: a type, or the choices."""
        return "[true|false]" if self.annotation is bool else _takes(self.annotation)

    @property
    def choices(self) -> list[str]:
        """The words that it takes; empty where it takes anything else."""
        if self.annotation is bool:
            return ["true", "false"]
        parts = [self.annotation, *get_args(self.annotation)]
        return [str(word) for part in parts if get_origin(part) is Literal for word in get_args(part)]


def flags_of(sections: Mapping[str, type]) -> list[Flag]:
    """The flags of config dataclasses, by section, in the order of declaration."""
    found = []
    for section, config in sections.items():
        annotations = annotations_of(config)
        for item in dataclasses.fields(config):
            help_text, is_basic = item.metadata["help"], item.metadata["basic"]
            found.append(Flag(item.name, section, annotations[item.name], item.default, help_text, is_basic))
    return found


def read_flags(flags: Iterable[Flag], argv: Sequence[str]) -> Json:
    """{flag: text or texts} of the flags that were given.

    Raises:
        ConfigError: an unknown flag, with the closest known one, or a flag without its value.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    known = set()
    for flag in flags:
        known.add(f"--{flag.name}")
        takes: Json = {}
        if flag.annotation is bool:
            takes = {"nargs": "?", "const": "true"}
        elif "tuple[" in str(flag.annotation):
            takes = {"nargs": "+"}
        parser.add_argument(f"--{flag.name}", default=argparse.SUPPRESS, **takes)
    parsed, unknown = parser.parse_known_args(argv)
    if unknown:
        refuse_unknown(unknown[0], known, "flag")
    return vars(parsed)


def refuse_unknown(name: str, known: Iterable[str], kind: str) -> NoReturn:
    """Raise ConfigError that names the closest known spelling."""
    close = difflib.get_close_matches(name.split("=")[0], sorted(known), n=1, cutoff=0.6)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise ConfigError(f"unknown {kind} {name}{hint}")


def _takes(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "|".join(map(str, arguments))
    if origin in (types.UnionType, Union):
        return "|".join(_takes(argument) for argument in arguments if argument is not type(None))
    if origin is tuple:
        return f"{_takes(arguments[0])} ..." if arguments[-1] is Ellipsis else " ".join(map(_takes, arguments))
    return {int: "int", float: "number", str: "text", bool: "true|false"}[annotation]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)
