"""Scripts for huggingface_hub as it is, each run against the local server by a fresh process."""

import json
import subprocess
import sys
from typing import Any

from tests.support.hub_server import OWNER_TOKEN, LocalHub

PRELUDE = """
import json, sys
from pathlib import Path
from huggingface_hub import CommitOperationAdd as Add, CommitOperationDelete as Delete, HfApi
from huggingface_hub.errors import HfHubHTTPError
api = HfApi()

def commit(files, repo="ada/model", message="a change", **settings):
    operations = [Add(path, content) for path, content in files.items()]
    return api.create_commit(repo, operations, commit_message=message, **settings)

def refusal(call, *arguments, **settings):
    try:
        call(*arguments, **settings)
    except HfHubHTTPError as error:
        return [type(error).__name__, error.response.status_code]
    except Exception as error:
        return [type(error).__name__, str(error)]

def answer(value):
    print("answer:" + json.dumps(value))
"""


def client(hub: LocalHub, script: str, token: str | None = OWNER_TOKEN) -> Any:
    """What a fresh process says that runs `script` against the server."""
    command = [sys.executable, "-c", PRELUDE + script]
    environment = hub.environment(token)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, cwd=hub.folder)
    assert done.returncode == 0, done.stderr
    said = [line.removeprefix("answer:") for line in done.stdout.splitlines() if line.startswith("answer:")]
    return json.loads(said[0]) if said else None
