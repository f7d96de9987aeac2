"""Routes that change nothing: who am I, what is in a repository, and its files."""

import json
import re
from typing import Any
from urllib.parse import parse_qs

import yaml
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from tests.support.hub_access import (
    RefusalError,
    commit_at,
    fields,
    parameter,
    repository,
    server_of,
    to_write,
    token_of,
    user_of,
    web_path,
)
from tests.support.hub_cards import findings, metadata_of
from tests.support.hub_store import Commit, File, Repository, git_oid

RANGE = re.compile(r"bytes=(\d*)-(\d*)")


async def whoami(request: Request) -> Response:
    user, server = user_of(request), server_of(request)
    role = "read" if token_of(request) in server.read_only_tokens else "write"
    organisations = [{"type": "org", "name": name} for name in sorted(server.organisations.get(user, ()))]
    auth = {"type": "access_token", "accessToken": {"displayName": "test", "role": role}}
    return JSONResponse({"type": "user", "name": user, "fullname": user, "orgs": organisations, "auth": auth})


async def validate_yaml(request: Request) -> Response:
    asked = await fields(request)
    errors, warnings = findings(asked["content"], asked.get("repoType", "model"))
    answer = {"errors": [{"message": text} for text in errors], "warnings": [{"message": text} for text in warnings]}
    return JSONResponse(answer, 400 if errors else 200)


def _card(commit: Commit) -> dict[str, Any]:
    try:
        metadata = metadata_of(commit.files["README.md"].content.decode()) if "README.md" in commit.files else None
    except (yaml.YAMLError, UnicodeDecodeError):
        return {}
    return json.loads(json.dumps(metadata, default=str)) if isinstance(metadata, dict) else {}


def _sibling(path: str, file: File, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": path}
    lfs = {"sha256": file.sha256, "size": len(file.content), "pointerSize": len(file.pointer)} if file.large else None
    known = {"rfilename": path, "size": len(file.content), "blobId": file.oid}
    return known if lfs is None else {**known, "lfs": lfs}


async def info(request: Request) -> Response:
    repo = repository(request)
    commit, blobs = commit_at(request, repo), request.query_params.get("blobs", "").lower() in ("1", "true")
    card = _card(commit)
    answer: dict[str, Any] = {"_id": git_oid(repo.repo_id.encode())[:24], "id": repo.repo_id, "author": repo.owner}
    answer |= {
        "sha": commit.oid,
        "private": repo.private,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
    }
    answer |= {"lastModified": commit.date, "createdAt": repo.log()[-1].date}
    answer |= {"siblings": [_sibling(path, file, blobs) for path, file in commit.files.items()]}
    answer |= {"tags": [*card.get("tags", ()), *([f"license:{card['license']}"] if "license" in card else [])]}
    if card:
        answer |= {"cardData": card}
    if repo.kind == "model":
        answer |= {"modelId": repo.repo_id, "library_name": card.get("library_name")}
        answer |= {"pipeline_tag": card.get("pipeline_tag"), "model-index": card.get("model-index")}
    return JSONResponse(answer)


def _entry(path: str, file: File) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "oid": file.oid, "size": len(file.content), "path": path}
    if file.large:
        entry["lfs"] = {"oid": file.sha256, "size": len(file.content), "pointerSize": len(file.pointer)}
    return entry


def _folder(path: str, commit: Commit) -> dict[str, Any]:
    inside = [f"{name} {file.oid}" for name, file in commit.files.items() if name.startswith(path + "/")]
    return {"type": "directory", "oid": git_oid("\n".join(inside).encode(), "tree"), "size": 0, "path": path}


def _folders(commit: Commit) -> list[str]:
    parts = [path.split("/") for path in commit.files]
    return sorted({"/".join(part[:depth]) for part in parts for depth in range(1, len(part))})


def _with_last_commit(entry: dict[str, Any], repo: Repository, commit: Commit) -> dict[str, Any]:
    changed = commit
    while changed.parent and repo.commits[changed.parent].files.get(entry["path"]) == commit.files.get(entry["path"]):
        changed = repo.commits[changed.parent]
    return {**entry, "lastCommit": {"id": changed.oid, "title": changed.message, "date": changed.date}}


async def tree(request: Request) -> Response:
    repo = repository(request)
    commit = commit_at(request, repo)
    path = parameter(request, "path") if "path" in request.path_params else ""
    start = f"{path}/" if path else ""
    entries = [_folder(name, commit) for name in _folders(commit)]
    entries += [_entry(name, file) for name, file in commit.files.items()]
    entries = [entry for entry in entries if entry["path"].startswith(start)]
    if path and not entries:
        raise RefusalError(404, f"{path} does not exist", code="EntryNotFound")
    if request.query_params.get("recursive", "").lower() not in ("1", "true"):
        entries = [entry for entry in entries if "/" not in entry["path"].removeprefix(start)]
    if request.query_params.get("expand", "").lower() in ("1", "true"):
        entries = [_with_last_commit(entry, repo, commit) for entry in entries]
    return JSONResponse(entries)


async def paths_info(request: Request) -> Response:
    repo = repository(request)
    commit = commit_at(request, repo)
    if "json" in request.headers.get("content-type", ""):
        paths = (await fields(request))["paths"]
    else:
        paths = parse_qs((await request.body()).decode())["paths"]
    folders = _folders(commit)
    known = [_folder(path, commit) for path in paths if path in folders]
    return JSONResponse(known + [_entry(path, commit.files[path]) for path in paths if path in commit.files])


async def refs(request: Request) -> Response:
    repo = repository(request)
    kinds: dict[str, list[dict[str, str]]] = {"branches": [], "tags": [], "converts": [], "pullRequests": []}
    keys = {"refs/heads/": "branches", "refs/tags/": "tags", "refs/pr/": "pullRequests"}
    for ref, oid in repo.heads.items():
        start = next(start for start in keys if ref.startswith(start))
        name = ref if start == "refs/pr/" else ref.removeprefix(start)
        kinds[keys[start]].append({"name": name, "ref": ref, "targetCommit": oid})
    if not request.query_params.get("include_prs"):
        del kinds["pullRequests"]
    return JSONResponse(kinds)


async def commits(request: Request) -> Response:
    repo = repository(request)
    log = repo.log(commit_at(request, repo).oid)
    return JSONResponse(
        [
            {
                "id": commit.oid,
                "title": commit.message,
                "message": commit.change.description,
                "authors": [{"user": commit.change.author}],
                "date": commit.date,
            }
            for commit in log
        ]
    )


async def auth_check(request: Request) -> Response:
    repository(request)
    return JSONResponse({})


async def auth_check_write(request: Request) -> Response:
    to_write(request)
    return JSONResponse({})


def _file(request: Request, repo: Repository) -> tuple[File, dict[str, str]]:
    """The file of the path, and the headers that name its commit."""
    commit, path = commit_at(request, repo), parameter(request, "path")
    headers = {"X-Repo-Commit": commit.oid}
    if path not in commit.files:
        raise RefusalError(404, f"{web_path(repo)} has no {path}", code="EntryNotFound", headers=headers)
    return commit.files[path], headers


async def resolve(request: Request) -> Response:
    """A file; a large one by a redirect to the store, which knows no tokens."""
    repo, server = repository(request), server_of(request)
    file, headers = _file(request, repo)
    if not file.large:
        return _content(request, file.content, {**headers, "ETag": f'"{file.oid}"'})
    headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(len(file.content))}
    return RedirectResponse(f"{server.store_endpoint}/{server.sign(repo)}/{file.sha256}", 302, headers)


async def raw(request: Request) -> Response:
    """What stands in git: of a large file its pointer."""
    file, headers = _file(request, repository(request))
    content = file.pointer if file.large else file.content
    return _content(request, content, {**headers, "ETag": f'"{file.oid}"'})


async def large_file(request: Request) -> Response:
    repo = server_of(request).signed.get(request.path_params["signature"])
    sha256 = request.path_params["sha256"]
    if repo is None or sha256 not in repo.large_files:
        raise RefusalError(403, "this address has not been given out")
    return _content(request, repo.large_files[sha256], {"ETag": f'"{sha256}"'})


def _content(request: Request, content: bytes, headers: dict[str, str]) -> Response:
    headers = {**headers, "Accept-Ranges": "bytes"}
    kind = "application/octet-stream"
    match = RANGE.fullmatch(request.headers.get("range", ""))
    if match is None or match.groups() == ("", ""):
        return Response(content, 200, headers, kind)
    first, last = match.groups()
    start = int(first) if first else max(len(content) - int(last), 0)
    stop = min(int(last) + 1, len(content)) if first and last else len(content)
    if start >= stop:
        return Response(b"", 416, {**headers, "Content-Range": f"bytes */{len(content)}"})
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
    return Response(content[start:stop], 206, headers, kind)
