"""The addresses of the local server; a fault is ordered by the name of a route, which is that of its function."""

from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Match, Route
from starlette.types import Scope

from tests.support import hub_reading as reading
from tests.support import hub_writing as writing
from tests.support.hub_access import RefusalError, refused

REPOSITORY = "/api/{kind}/{owner}/{name}"
LARGE = "/large-files/{signature}/{sha256}"


def _route(path: str, endpoint: Callable[..., Any], methods: str = "GET") -> Route:
    return Route(path, endpoint, methods=methods.split(), name=endpoint.__name__)


def _of_a_repository() -> list[Route]:
    return [
        _route(REPOSITORY + path, *rest)
        for path, *rest in (
            ("", reading.info),
            ("/revision/{revision}", reading.info),
            ("/tree/{revision}", reading.tree),
            ("/tree/{revision}/{path:path}", reading.tree),
            ("/paths-info/{revision}", reading.paths_info, "POST"),
            ("/refs", reading.refs),
            ("/commits/{revision}", reading.commits),
            ("/auth-check", reading.auth_check),
            ("/auth-check/write", reading.auth_check_write),
            ("/settings", writing.settings, "PUT"),
            ("/preupload/{revision}", writing.preupload, "POST"),
            ("/commit/{revision}", writing.commit, "POST"),
            ("/branch/{branch}", writing.branch, "POST DELETE"),
            ("/tag/{revision}", writing.tag, "POST DELETE"),
            ("/discussions", writing.discussions, "GET POST"),
            ("/discussions/{number:int}", writing.discussion),
            ("/discussions/{number:int}/merge", writing.merge, "POST"),
        )
    ]


def _of_files(start: str) -> list[Route]:
    objects = start + "/{owner}/{name}.git/info/lfs/objects"
    return [
        _route(start + "/{owner}/{name}/resolve/{revision}/{path:path}", reading.resolve),
        _route(start + "/{owner}/{name}/raw/{revision}/{path:path}", reading.raw),
        _route(objects + "/batch", writing.lfs_batch, "POST"),
        _route(objects + "/verify", writing.lfs_verify, "POST"),
    ]


ROUTES = [
    _route("/api/whoami-v2", reading.whoami),
    _route("/api/validate-yaml", reading.validate_yaml, "POST"),
    _route("/api/repos/create", writing.create, "POST"),
    _route("/api/repos/delete", writing.delete, "DELETE"),
    _route(LARGE, reading.large_file),
    _route(LARGE, writing.lfs_upload, "PUT"),
    *_of_a_repository(),
    *_of_files(""),
    *_of_files("/{kind}"),
]
NAMES = frozenset(route.name for route in ROUTES)


def application() -> Starlette:
    return Starlette(routes=ROUTES, exception_handlers={RefusalError: refused})


def route_of(scope: Scope) -> str:
    """The name of the route that answers; empty where none does."""
    return next((route.name for route in ROUTES if route.matches(scope)[0] == Match.FULL), "")
