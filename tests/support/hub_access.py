"""Who asks, what for, and the answers to those who may not: statuses and headers that clients tell errors apart by."""

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.support.hub_store import Commit, Repository, UnknownRevisionError

if TYPE_CHECKING:
    from tests.support.hub_server import LocalHub

KINDS = {"models": "model", "datasets": "dataset"}


class RefusalError(Exception):
    """An answer of status 4xx, raised where it is found out."""

    def __init__(self, status: int, message: str, *, code: str = "", headers: dict[str, str] | None = None) -> None:
        self.status, self.message = status, message
        line = " ".join(message.split()).encode("ascii", "replace").decode()  # what a header can hold
        self.headers = {"X-Error-Message": line, **({"X-Error-Code": code} if code else {}), **(headers or {})}


async def refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusalError)
    return JSONResponse({"error": error.message}, error.status, error.headers)


def server_of(request: Request) -> "LocalHub":
    return request.app.state.server


def parameter(request: Request, name: str) -> str:
    """Revisions and paths travel quoted, so that a slash in them ends no segment."""
    return unquote(request.path_params[name])


async def fields(request: Request) -> dict[str, Any]:
    body = await request.body()
    return json.loads(body) if body else {}


def token_of(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def asking(request: Request) -> str | None:
    """The user whose token came along; None without one."""
    token = token_of(request)
    if token is None:
        return None
    if token not in server_of(request).tokens:
        raise RefusalError(401, "Invalid credentials in Authorization header")
    return server_of(request).tokens[token]


def user_of(request: Request) -> str:
    user = asking(request)
    if user is None:  # the code is what a client concludes by itself where the address begins with https
        code = "RepoNotFound" if "owner" in request.path_params else ""
        raise RefusalError(401, "Invalid username or password.", code=code)
    return user


def kind_of(request: Request) -> str:
    kind = request.path_params.get("kind", "models")
    if kind not in KINDS:
        raise RefusalError(404, f"there are no {kind} here")
    return KINDS[kind]


def repository(request: Request) -> Repository:
    """The repository of the path; a private one does not exist for others."""
    server, user = server_of(request), asking(request)
    repo_id = f"{request.path_params['owner']}/{request.path_params['name']}"
    found = server.repositories.get((kind_of(request), repo_id))
    if found is not None and (not found.private or server.may_write(user, found.owner)):
        return found
    if user is None:
        raise RefusalError(401, "Invalid username or password.", code="RepoNotFound")
    raise RefusalError(404, "Repository not found", code="RepoNotFound")


def to_write(request: Request, revision: str = "") -> Repository:
    """The repository, for those who may change it; who proposes a change may change that, in repositories of anyone."""
    user, found = user_of(request), repository(request)
    proposed = {proposed.ref for proposed in found.pull_requests.values() if proposed.change.author == user}
    own = request.query_params.get("create_pr") or (revision and found.ref(revision) in proposed)
    demand_owner(request, user, user if own else found.owner)
    return found


def demand_owner(request: Request, user: str, owner: str) -> None:
    server = server_of(request)
    if not server.may_write(user, owner):
        raise RefusalError(403, f"{user} may not write to repositories of {owner}")
    if token_of(request) in server.read_only_tokens:
        raise RefusalError(403, "this token can only read")


def commit_at(request: Request, repo: Repository) -> Commit:
    return at(repo, parameter(request, "revision") if "revision" in request.path_params else "main")


def at(repo: Repository, revision: str) -> Commit:
    try:
        return repo.at(revision)
    except UnknownRevisionError:
        raise RefusalError(404, f"Invalid rev id: {revision}", code="RevisionNotFound") from None


def web_path(repo: Repository) -> str:
    return f"{'' if repo.kind == 'model' else 'datasets/'}{repo.repo_id}"
