"""Which rows exactly, and under what terms: the revision and the license of a run's data, where they are known."""

import re
from pathlib import Path

from huggingface_hub import HfApi

from hfssl.data.source import Source

_COMMIT = re.compile(r"[0-9a-f]{40}")
_DEMO = "demo:"
_DEMO_LICENSES = {
    "digits": "CC BY 4.0 (UCI Machine Learning Repository, Optical Recognition of Handwritten Digits)",
    "pydocs": "Python Software Foundation License (documentation that CPython ships)",
    "vowels": "none needed: synthesised here",
}


def provenance(source: Source) -> dict[str, str | None]:
    """`revision`, the commit that a data set of the Hub was read at, and `license`; None for what is not known.

    The license is what the data set's page says; without network nobody can tell.
    """
    name = source.name
    if name.startswith(_DEMO):
        return {"revision": None, "license": _DEMO_LICENSES.get(name.removeprefix(_DEMO))}
    if Path(name).expanduser().exists():
        return {"revision": None, "license": None}
    revision = _revision(source)
    return {"revision": revision, "license": _license(name, revision)}


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
