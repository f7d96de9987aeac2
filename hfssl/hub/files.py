"""What of a run goes to the Hub: an allow-list of files, with nothing in them that is of this machine only."""

import fnmatch
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hfssl.checkpoints.adapter_files import CONFIG_FILE
from hfssl.checkpoints.model_files import settings_in, shapes_in
from hfssl.errors import require
from hfssl.hub.public_scores import public_scores
from hfssl.hub.secrets import refuse_secrets, secrets
from hfssl.reporting.card import Card, render
from hfssl.run_dir import RunDir

CARD = "README.md"
MANIFEST = "hfssl.json"  # names what a publication brought, so that the next one takes away no file of somebody else
_OF_MODELS = (
    *("config.json", "generation_config.json", "model.safetensors", "model-*.safetensors"),
    *("model.safetensors.index.json", "adapter_config.json", "adapter_model.safetensors", "heads.safetensors"),
    *("preprocessor_config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "*.model"),
    "chat_template.jinja",
)
_FOLDERS = ("pretraining",)  # of an export that hold a further model
_OF_LOCAL_DATA = "evaluate-"  # evaluations are called by their data


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
        ConfigError: one of them names a path of this machine or a secret, is damaged, or is a link to something else.
    """
    files = [HubFile(CARD, render(card).encode())]
    files += [HubFile(figure, run_dir.path / figure) for figure in card.figures]
    files += _scores(run_dir, card)
    if export is not None:
        files += _of_model(export, card.base_model)
    config = secrets(run_dir)
    for file in files:
        _check(file)
        refuse_secrets(file.name, file.content, config)
    return files


def manifest(names: Iterable[str]) -> HubFile:
    """What says which files of a repository a publication brought."""
    return HubFile(MANIFEST, json.dumps({"files": sorted({*names, MANIFEST})}, indent=1).encode())


def _scores(run_dir: RunDir, card: Card) -> Iterator[HubFile]:
    num_hidden = 0
    for name in run_dir.eval_names():
        content = run_dir.read_eval(name)
        is_local = content["local"] is not False if "local" in content else card.is_of_local_data
        if is_local and name.startswith(_OF_LOCAL_DATA):
            name, num_hidden = f"{_OF_LOCAL_DATA}local-{num_hidden}", num_hidden + 1
        yield HubFile(f"eval/{name}.json", json.dumps(public_scores(content, card.data), indent=1).encode())


def is_of_card(name: str) -> bool:
    """Whether a published file is the card or something that the card shows."""
    return name in (CARD, MANIFEST) or name.startswith(("figures/", "eval/"))


def _of_model(export: Path, base_model: str | None) -> Iterator[HubFile]:
    for folder in (export, *(export / name for name in _FOLDERS)):
        for path in sorted(folder.glob("*")):
            if any(fnmatch.fnmatchcase(path.name, pattern) for pattern in _OF_MODELS):
                is_adapter = path.name == CONFIG_FILE
                content = _with_base(path, base_model) if is_adapter else path
                yield HubFile(path.relative_to(export).as_posix(), content)


def _with_base(path: Path, base_model: str | None) -> bytes:
    """An adapter's settings with the published name of its base."""
    content = settings_in(path) | {"base_model_name_or_path": base_model}
    return json.dumps(content, indent=2, sort_keys=True).encode()


def _check(file: HubFile) -> None:
    """Raises ConfigError for what would be of no use to anybody."""
    if isinstance(file.content, bytes):
        return
    path = file.content
    require(not path.is_symlink(), f"{path} is a link: what it leads to is not published; put the file itself there")
    require(path.is_file() and file.size > 0, f"{path} is no file, or empty: make the export or the figures again")
    if path.suffix == ".safetensors":
        require(bool(shapes_in(path)), f"{path} holds no weights: make the export again")


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
