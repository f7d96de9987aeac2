"""A local server that speaks enough of the Hub's HTTP API for its clients as they are, in a thread, with faults on demand.

    def test_it(hub: LocalHub) -> None:  # the fixture of tests/conftest.py
        subprocess.run([...], env=hub.environment())  # clients read the endpoint when they are imported
        assert hub.repository("ada/model").files()["config.json"] == b"{}"

    hub.fail("preupload", 403)                  the next request to this route is refused, and changes nothing
    hub.fail("lfs_upload", 403, skip=2)         the third large file fails
    hub.fail("commit", 503, applied=True)       the commit is made, and its author does not learn it
    hub.fail("commit", DROPPED, applied=True)   the same, and the connection ends in the middle of the answer
    hub.before("commit", lambda: hub.commit("ada/model", {"a.txt": b"a"}, author="grace"))   another was faster

Routes are named in tests/support/hub_routes.py. huggingface_hub repeats uploads that get 408, 429, 500, 502, 503 or 504 for
half a minute, but no commit: 403 fails an upload at once.
"""

import base64
import json
import os
import re
import socket
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote

import uvicorn
from starlette.types import Message, Receive, Scope, Send

from tests.support.hub_routes import NAMES, application, route_of
from tests.support.hub_store import Change, Commit, Repository, file_of

OWNER, OWNER_TOKEN = "ada", "hf_token_of_ada"
OTHER, OTHER_TOKEN = "grace", "hf_token_of_grace"
DROPPED = 0
NOT_INHERITED = re.compile(r"HF_.*|HUGGING_?FACE.*|TRANSFORMERS_.*|.*_proxy", re.IGNORECASE)


@dataclass
class Received:
    """One request, as it came in; `status` is that of the answer."""

    method: str
    path: str
    route: str
    headers: dict[str, str]
    body: bytes
    status: int = 0

    @property
    def uploaded(self) -> list[bytes]:
        """Address, headers without the token, body; and what the body holds behind escapes and in base64."""
        headers = [value for name, value in self.headers.items() if name != "authorization"]
        found = [text.encode() for text in (self.path, unquote(self.path), *headers)] + [self.body]
        if self.headers.get("content-type", "").endswith("json"):
            values = [json.loads(line) for line in self.body.splitlines() if line.strip()]
            found += [json.dumps(value, ensure_ascii=False).encode() for value in values]
            files = [file for value in values for file in (value.get("files") or [value.get("value")]) if file]
            found += [base64.b64decode(file.get("content") or file.get("sample") or "") for file in files]
        return found


@dataclass
class _Fault:
    route: str
    status: int
    times: int
    skip: int
    applied: bool


class LocalHub:
    """The server; also what a test looks into, and another user who changes what is there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.tokens = {OWNER_TOKEN: OWNER, OTHER_TOKEN: OTHER}
        self.read_only_tokens: set[str] = set()
        self.organisations: dict[str, set[str]] = {}  # user -> names that the user may write under
        self.received: list[Received] = []
        self.errors: list[Exception] = []
        self.signed: dict[str, Repository] = {}
        self._faults: list[_Fault] = []
        self._callbacks: list[tuple[str, Callable[[], object]]] = []
        self._application = application()
        self._application.state.server = self

    def __enter__(self) -> Self:
        self._sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        own, store = (opened.getsockname()[1] for opened in self._sockets)
        self.endpoint = f"http://127.0.0.1:{own}"
        self.store_endpoint = f"http://localhost:{store}/large-files"  # of another name, as the store of the Hub is
        config = uvicorn.Config(self, log_level="critical", lifespan="off", ws="none", http="h11", loop="asyncio")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=(self._sockets,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10.0)
        for opened in self._sockets:
            opened.close()
        if kind is None and self.errors:
            raise AssertionError("the local server itself failed") from self.errors[0]

    def environment(self, token: str | None = OWNER_TOKEN) -> dict[str, str]:
        """For a fresh process: this endpoint, a home of its own, and nothing of this process's network settings."""
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not NOT_INHERITED.fullmatch(name)}
        home = tempfile.mkdtemp(prefix="home-", dir=self.folder)
        kept |= {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": home,
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1,localhost",
        }
        kept |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        return kept if token is None else {**kept, "HF_TOKEN": token}

    def create(
        self, repo_id: str, *, kind: str = "model", private: bool = False, author: str | None = None
    ) -> Repository:
        made = Repository(kind, repo_id, private=private, author=author or repo_id.split("/")[0])
        self.repositories[kind, repo_id] = made
        return made

    def repository(self, repo_id: str, kind: str = "model") -> Repository:
        return self.repositories[kind, repo_id]

    def commit(
        self,
        repo_id: str,
        files: Mapping[str, bytes | None],
        *,
        kind: str = "model",
        message: str = "A commit by hand",
        author: str = OWNER,
    ) -> Commit:
        """A commit to main without a request; None deletes a file."""
        added = {path: file_of(path, content) for path, content in files.items() if content is not None}
        deleted = tuple(path for path, content in files.items() if content is None)
        return self.repository(repo_id, kind).commit(Change(message, author, added=added, deleted=deleted))

    def fail(self, route: str, status: int, *, times: int = 1, skip: int = 0, applied: bool = False) -> None:
        """Answer `times` requests to `route` with `status`, after `skip` that go well; `applied`: after doing what they ask."""
        assert route in NAMES, f"{route} is not one of {sorted(NAMES)}"
        self._faults.append(_Fault(route, status, times, skip, applied))

    def before(self, route: str, call: Callable[[], object]) -> None:
        """Call something once, right before the next request to `route` is answered."""
        assert route in NAMES, f"{route} is not one of {sorted(NAMES)}"
        self._callbacks.append((route, call))

    def requests(self, route: str) -> list[Received]:
        """What has come in for a route, the oldest first."""
        return [request for request in self.received if request.route == route]

    def uploaded(self) -> bytes:
        """Every byte that clients sent but their tokens, in all its disguises, to look for what must not leak."""
        return b"\n".join(part for request in self.received for part in request.uploaded)

    def may_write(self, user: str | None, owner: str) -> bool:
        return user is not None and (user == owner or owner in self.organisations.get(user, ()))

    def sign(self, repo: Repository) -> str:
        """A part of an address that alone gives access to the large files of a repository."""
        signature = f"{len(self.signed):08d}"
        self.signed[signature] = repo
        return signature

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _whole(receive)
        scope = {**scope, "path": scope["raw_path"].decode()}  # quoted: a slash in a revision ends no segment
        query = scope["query_string"].decode()
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        path = scope["path"] + (f"?{query}" if query else "")
        received = Received(scope["method"], path, route_of(scope), headers, body)
        self.received.append(received)
        try:
            await self._answer(received, scope, send)
        except Exception as error:
            self.errors.append(error)
            raise

    async def _answer(self, received: Received, scope: Scope, send: Send) -> None:
        for waiting in [pair for pair in self._callbacks if pair[0] == received.route]:
            self._callbacks.remove(waiting)
            waiting[1]()
        fault = self._due(received.route)
        if not received.route:
            self.errors.append(NotImplementedError(f"nothing answers {received.method} {received.path}"))
            fault = _Fault("", 501, times=1, skip=0, applied=False)

        async def receive_again() -> Message:
            return {"type": "http.request", "body": received.body, "more_body": False}

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                received.status = message["status"]
            if fault is None:
                await send(message)

        if fault is None or fault.applied:
            await self._application(scope, receive_again, noted)
        if fault is not None:
            received.status = fault.status
            await _break_off(fault.status, send)

    def _due(self, route: str) -> _Fault | None:
        for fault in self._faults:
            if fault.route == route:
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                if not fault.times:
                    self._faults.remove(fault)
                return fault
        return None


async def _whole(receive: Receive) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


async def _break_off(status: int, send: Send) -> None:
    """An error; for `DROPPED` an answer that breaks off, on which the server closes the connection."""
    body = b'{"error": "ordered by a test"}'
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status or 200, "headers": headers})
    if status != DROPPED:
        await send({"type": "http.response.body", "body": body})
