"""What of a run goes to the Hub: an allow-list of files, with nothing in them that is of this machine alone."""

import fnmatch
import getpass
import json
import mmap
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import get_token

from hfssl.config import require
from hfssl.nn.adapter_files import CONFIG_FILE
from hfssl.publishing.card import Card, render
from hfssl.publishing.public_scores import public_scores
from hfssl.run_dir import RunDir

CARD = "README.md"
_OF_MODELS = (
    *("config.json", "generation_config.json", "model.safetensors", "model-*.safetensors"),
    *("model.safetensors.index.json", "adapter_config.json", "adapter_model.safetensors", "heads.safetensors"),
    *("preprocessor_config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "*.model"),
    "chat_template.jinja",
)
_FOLDERS = ("pretraining",)  # of an export that hold a further model
_OF_CARDS = ("README.md", "figures/*.png", "eval/*.json")
_TEXTS = (".json", ".md", ".txt", ".jinja")
_SHORTEST, _TOO_SHORT = (
    8,
    3,
)  # characters of a secret: of one that is looked for among numbers, of one that says nothing
_TOKEN = "an access token"


class HubFile(NamedTuple):
    """A file for a repository; content: its bytes, or where they lie."""

    name: str
    content: bytes | Path

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


def hub_files(run_dir: RunDir, card: Card, export: Path | None) -> list[HubFile]:
    """Card, figures and scores of a run, and the model in `export`, unless that is None.

    Raises:
        ConfigError: one of them names a path of this machine or a secret.
    """
    is_local = card.is_of_local_data
    files = [HubFile(CARD, render(card).encode())]
    files += [HubFile(figure, run_dir.path / figure) for figure in card.figures]
    names = run_dir.eval_names()
    further = [name for name in names if name != "summary"]
    for name in names:
        content = public_scores(run_dir.read_eval(name), card.data)
        public = name if not is_local or name == "summary" else f"further-{further.index(name)}"
        files.append(HubFile(f"eval/{public}.json", json.dumps(content, indent=1).encode()))
    if export is not None:
        files += _of_model(export, card.base_model)
    for file in files:
        _refuse_leaks(file, secrets(run_dir))
    return files


def is_ours(name: str) -> bool:
    """Whether a file of this name may have come from an earlier publication of a run."""
    return is_of_card(name) or any(
        fnmatch.fnmatchcase(name, f"{folder}{pattern}")
        for folder in ("", *(f"{folder}/" for folder in _FOLDERS))
        for pattern in _OF_MODELS
    )


def is_of_card(name: str) -> bool:
    """Whether it is the card or something that a card shows."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in _OF_CARDS)


def _of_model(export: Path, base_model: str | None) -> Iterator[HubFile]:
    found = sorted(path for folder in (export, *(export / name for name in _FOLDERS)) for path in folder.glob("*"))
    for path in found:
        name = path.relative_to(export).as_posix()
        if not path.is_file() or is_of_card(name) or not is_ours(name):
            continue
        yield HubFile(name, _with_base(path, base_model) if path.name == CONFIG_FILE else path)


def _with_base(path: Path, base_model: str | None) -> bytes:
    """An adapter's settings with the published name of its base."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    content["base_model_name_or_path"] = base_model
    return json.dumps(content, indent=2, sort_keys=True).encode()


def secrets(run_dir: RunDir) -> dict[str, str]:
    """What must not be in a published file: text -> what it is."""
    config = run_dir.read_config()
    places: Mapping[str, Any] = {
        "dataset": config["data"]["dataset"],
        "init_from": config["loop"]["init_from"],
        "model_config": config["loop"]["model_config"],
    }
    local = [Path(str(places[name])).expanduser() for name in config.get("local", []) if places.get(name)]
    found = {str(path): "a path of this machine" for path in local if path.is_absolute()}
    found |= {str(path.absolute()): "a path of this machine" for path in [*local, run_dir.path, Path.cwd()]}
    found |= {f"{Path.home()}/": "a path of this machine", f"/{getpass.getuser()}/": "a user name"}
    found |= {socket.gethostname(): "the name of this machine"}
    token = get_token()
    return found | ({token: _TOKEN} if token else {})


def _refuse_leaks(file: HubFile, secrets: Mapping[str, str]) -> None:
    """Raises ConfigError. Short secrets, which numbers hold by chance, are looked for in texts alone."""
    is_text = file.name.endswith(_TEXTS)
    for secret, what in secrets.items():
        if len(secret) < _SHORTEST and not (is_text and len(secret) > _TOO_SHORT and "/" in secret):
            continue
        shown = "" if what == _TOKEN else f" ({secret})"
        require(
            not _holds(file.content, secret.encode()),
            f"{file.name} holds {what}{shown}, which nobody else should see: nothing was published; take it out of the run",
        )


def _holds(content: bytes | Path, secret: bytes) -> bool:
    if isinstance(content, bytes):
        return secret in content
    if content.stat().st_size == 0:
        return False
    with content.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return mapped.find(secret) >= 0


def listed(files: Sequence[HubFile]) -> list[str]:
    """A line for each file, and their sum."""
    width = max(len(file.name) for file in files)
    lines = [f"  {file.name:<{width}}  {_size(file.size):>9}" for file in files]
    return [*lines, f"  {f'{len(files)} files':<{width}}  {_size(sum(file.size for file in files)):>9}"]


def _size(num_bytes: int) -> str:
    for unit, bytes_each in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if num_bytes >= bytes_each:
            return f"{num_bytes / bytes_each:.1f} {unit}"
    return f"{num_bytes} B"
