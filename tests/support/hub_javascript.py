"""The local server before a client that shares no code with huggingface_hub: the one for JavaScript, from npm.

    python -m tests.support.hub_javascript

Prints `passed`, or `absent: no node ...` where node or the package is missing.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support.hub_server import LocalHub

PACKAGE = "@huggingface/hub@2.17.5"
FILES = {
    "README.md": b"---\nlicense: mit\n---\n# A model\n",
    "config.json": b'{"model_type": "vit"}\n',
    "figures/loss curve.png": b"\x89PNG\0" + bytes(range(256)),
    "model.safetensors": bytes(range(256)) * 5000,
    "words/größe.txt": "größer\n".encode(),
}


def install(folder: Path) -> str:
    """The package in a folder; what is missing, if anything."""
    if not (shutil.which("node") and shutil.which("npm")):
        return "no node"
    command = ["npm", "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund", PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=folder, env=os.environ)
    except subprocess.TimeoutExpired:
        return "no node package within a minute"
    return "" if done.returncode == 0 else f"no node package, npm ended with {done.returncode}"


def round_trip(folder: Path) -> None:
    """Files put into a repository, read by the client, and committed by it to another one."""
    shutil.copy(Path(__file__).with_suffix(".mjs"), folder)
    with LocalHub(folder / "hub") as hub:
        hub.create("ada/model", private=True)
        hub.commit("ada/model", FILES)
        command = ["node", "hub_javascript.mjs", "ada/model", "ada/copy"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder, env=hub.environment())
        assert done.returncode == 0, done.stderr
        said, stored, copy = json.loads(done.stdout), hub.repository("ada/model").files(), hub.repository("ada/copy")
        assert said["sums"] == {path: hashlib.sha256(content).hexdigest() for path, content in stored.items()}
        assert copy.files() == stored
        assert said["oid"] == said["head"] == copy.resolve("main")
        assert said["pullRequest"] == f"{hub.endpoint}/ada/copy/discussions/1"
        assert said["missing"] is False
        stored_apart = hub.requests("lfs_upload") + hub.requests("large_file")
        assert len(stored_apart) >= 4
        assert not any("authorization" in request.headers for request in stored_apart)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        missing = install(Path(folder))
        if not missing:
            round_trip(Path(folder))
    print(f"absent: {missing}" if missing else "passed")


if __name__ == "__main__":
    main()
