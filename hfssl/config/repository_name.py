"""How a repository of the Hub may be called."""

import re

from hfssl.errors import ConfigError

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_REPOSITORY = re.compile(rf"(?:{_NAME}/)?{_NAME}")


def check_repository(setting: str, value: str | None) -> None:
    """Raise ConfigError where `value` cannot be the name of a repository; None can be left out."""
    if value is None:
        return
    if not _REPOSITORY.fullmatch(value) or "--" in value or ".." in value or value.endswith(".git"):
        raise ConfigError(
            f"{setting} must be NAME or USER/NAME of letters, digits, - _ and . (96 at most, no mark at an end, no -- or ..), "
            f"got {value!r}"
        )
