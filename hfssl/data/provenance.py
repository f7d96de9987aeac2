"""Which rows exactly, and under what terms: the revision and the license of a run's data, where they are known."""

import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi

from hfssl.data.source import Source
from hfssl.run_dir import Json, JsonView

_COMMIT = re.compile(r"[0-9a-f]{40}")
_DEMO = "demo:"
_DEMO_LICENSES = {
    "digits": "CC BY 4.0 (UCI Machine Learning Repository, Optical Recognition of Handwritten Digits)",
    "pydocs": "Python Software Foundation License (documentation that CPython ships)",
    "vowels": "none needed: synthesised here",
}


def provenance(source: Source) -> Json:
    """`revision`, the commit that a data set of the Hub was read at, and `license`; None for what is not known. `is_public`:
    whether anybody may see the rows.

    The license is what the data set's page says; without network nobody can tell.
    """
    name = source.name
    if name.startswith(_DEMO):
        return {"revision": None, "license": _DEMO_LICENSES.get(name.removeprefix(_DEMO)), "is_public": True}
    if Path(name).expanduser().exists():
        return {"revision": None, "license": None, "is_public": False}
    revision = _revision(source)
    return {"revision": revision, "license": _license(name, revision), "is_public": is_public(name)}


def is_public(name: str) -> bool:
    """Whether the Hub shows a data set to somebody without a token: it is neither private nor gated. Not known is no."""
    if name.startswith(_DEMO):
        return True
    if Path(name).expanduser().exists():
        return False
    try:
        found = HfApi().dataset_info(name, timeout=10.0, token=False)
    except Exception:  # no such page without a token, or no network
        return False
    return not found.private and not found.gated


def not_public(local: Sequence[str], known: JsonView) -> list[str]:
    """Settings that no card, command or published file may name: those of `local` paths, and data that not everybody sees."""
    return sorted({*local, *([] if known["is_public"] else ["dataset"])})


def _revision(source: Source) -> str | None:
    """datasets keeps the rows of a repository in a folder that is called by the commit."""
    folders = [part for file in source.all_rows.cache_files for part in Path(file["filename"]).parts]
    return next((folder for folder in folders if _COMMIT.fullmatch(folder)), None)


def _license(name: str, revision: str | None) -> str | None:
    try:
        card = HfApi().dataset_info(name, revision=revision, timeout=10.0).card_data
    except Exception:  # whatever the network says, the run continues without
        return None
    license = None if card is None else card.license
    return ", ".join(license) if isinstance(license, list) else license
