"""What must not be in a published file: paths, names and tokens of this machine, in every spelling that a file may give them."""

import contextlib
import getpass
import json
import mmap
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import get_token

from hfssl.errors import require
from hfssl.reporting.command import PLACEHOLDERS
from hfssl.run_dir import JsonView, RunDir

_PATH, _USER, _MACHINE, _TOKEN = "a path of this machine", "a user name", "the name of this machine", "an access token"
_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN", "HF_API_TOKEN", "WANDB_API_KEY", "GITHUB_TOKEN")
_ANY_TOKEN = re.compile(  # of the Hub, GitHub, OpenAI, Anthropic, AWS, Slack
    rb"hf_[A-Za-z0-9]{30,}|gh[opsu]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,}|sk-[A-Za-z0-9_-]{40,}"
    rb"|AKIA[0-9A-Z]{16}(?![0-9A-Z])|xox[abprs]-[A-Za-z0-9-]{20,}"
)
_TEXTS = (".json", ".md", ".txt", ".jinja")
_AMONG_NUMBERS = 12  # bytes of a secret that weights do not hold by chance


class Secret(NamedTuple):
    """A text, and what it is."""

    text: str
    what: str

    def pattern(self) -> "re.Pattern[bytes]":
        """It as a whole, not as a part of a longer name, as UTF-8, as JSON writes it, and with its slashes escaped; a user's name
        has its slashes around it."""
        as_json = json.dumps(self.text)[1:-1]
        spellings = {self.text, as_json, as_json.replace("/", "\\/"), json.dumps(self.text, ensure_ascii=False)[1:-1]}
        either = b"|".join(re.escape(spelling.encode("utf-8", "surrogateescape")) for spelling in sorted(spellings))
        before = b"" if self.what == _USER else rb"(?<![A-Za-z0-9_.~-])"
        after = b"" if self.text.endswith("/") else rb"(?![A-Za-z0-9_])"
        return re.compile(before + b"(?:" + either + b")" + after)


def secrets(run_dir: RunDir) -> list[Secret]:
    """Of a run: where it lies, where its data and its checkpoint lie, and who runs it where."""
    config = run_dir.read_config()
    places: JsonView = {
        "dataset": config["data"]["dataset"],
        "init_from": config["loop"]["init_from"],
        "model_config": config["loop"]["model_config"],
    }
    local = [str(places[name]) for name in config.get("local", places) if places.get(name)]
    paths = {spelling for place in [*local, str(run_dir.path), str(Path.cwd())] for spelling in _spellings(place)}
    found = {Secret(path, _PATH) for path in paths} | {Secret(f"{Path.home()}/", _PATH)}
    found |= {Secret(token, _TOKEN) for token in _tokens()}
    with contextlib.suppress(KeyError, OSError):  # a number without a name
        found.add(Secret(f"/{getpass.getuser()}/", _USER))
    host = socket.gethostname()
    is_word = host.isalpha()  # which a card may hold by chance
    return sorted(found | (set() if is_word else {Secret(host, _MACHINE)}))


def _spellings(place: str) -> Iterator[str]:
    """A path as it was given, if it shows a folder, in full, and without links."""
    path = Path(place).expanduser()
    if "/" in place and not place.startswith(("demo:", ".")) and place not in PLACEHOLDERS.values():
        yield place
    for whole in (path.absolute(), path.resolve()):
        if whole != Path(whole.anchor):
            yield str(whole)


def _tokens() -> Iterator[str]:
    for token in (get_token(), *(os.environ.get(name) for name in _TOKENS)):
        if token:
            yield token


def refuse_secrets(name: str, content: bytes | Path, secrets: list[Secret]) -> None:
    """Raises ConfigError where a file that would be called `name` holds one of them; a token is not shown."""
    found = _found(name, content, secrets)
    if found is None:
        return
    shown = "" if found.what == _TOKEN else f" ({found.text})"
    require(
        False,
        f"{name} holds {found.what}{shown}, which nobody else should see: nothing was published; take it out of the run",
    )


def _found(name: str, content: bytes | Path, secrets: list[Secret]) -> Secret | None:
    if isinstance(content, Path):
        with content.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            return _first(name, mapped, secrets)
    return _first(name, content, secrets)


def _first(name: str, content: "bytes | mmap.mmap", secrets: list[Secret]) -> Secret | None:
    if _ANY_TOKEN.search(content):
        return Secret("", _TOKEN)
    if name.endswith(_TEXTS):
        return next((secret for secret in secrets if secret.pattern().search(content)), None)
    long = [secret for secret in secrets if len(secret.text) >= _AMONG_NUMBERS]
    return next((secret for secret in long if content.find(secret.text.encode("utf-8", "surrogateescape")) >= 0), None)
