"""Routes that change something: repositories, uploads, commits, refs and pull requests."""

import base64
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.support.hub_access import (
    RefusalError,
    at,
    demand_owner,
    fields,
    parameter,
    repository,
    server_of,
    to_write,
    user_of,
    web_path,
)
from tests.support.hub_cards import findings
from tests.support.hub_store import (
    Change,
    File,
    PullRequest,
    Repository,
    StaleParentError,
    UnknownFileError,
    UnknownRevisionError,
    is_large,
)


async def create(request: Request) -> Response:
    user, asked, server = user_of(request), await fields(request), server_of(request)
    owner = asked.get("organization") or user
    repo_id, kind = f"{owner}/{asked['name']}", asked.get("type") or "model"
    demand_owner(request, user, owner)
    if (kind, repo_id) in server.repositories:
        taken = server.repositories[kind, repo_id]
        return JSONResponse(
            {"error": f"You already created this {kind} repo", "url": f"{server.endpoint}/{web_path(taken)}"}, 409
        )
    private = asked.get("visibility") == "private" or bool(asked.get("private"))
    made = server.create(repo_id, kind=kind, private=private, author=user)
    return JSONResponse({"url": f"{server.endpoint}/{web_path(made)}", "name": repo_id, "id": repo_id})


async def delete(request: Request) -> Response:
    user, asked, server = user_of(request), await fields(request), server_of(request)
    owner = asked.get("organization") or user
    demand_owner(request, user, owner)
    if server.repositories.pop((asked.get("type") or "model", f"{owner}/{asked['name']}"), None) is None:
        raise RefusalError(404, "Repository not found", code="RepoNotFound")
    return JSONResponse({})


async def settings(request: Request) -> Response:
    repo, asked = to_write(request), await fields(request)
    if "visibility" in asked or "private" in asked:
        repo.private = asked.get("visibility") == "private" or bool(asked.get("private"))
    return JSONResponse({"private": repo.private})


async def preupload(request: Request) -> Response:
    revision, asked = parameter(request, "revision"), await fields(request)
    repo = to_write(request, revision)
    known = at(repo, revision).files
    answers = []
    for file in asked["files"]:
        path = file["path"]
        large = is_large(path, file["size"], base64.b64decode(file.get("sample", "")))
        answer = {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
        if path in known:
            answer["oid"] = known[path].upload_oid
        answers.append(answer)
    return JSONResponse({"files": answers})


async def lfs_batch(request: Request) -> Response:
    asked, server, user = await fields(request), server_of(request), user_of(request)
    ref = asked.get("ref", {}).get("name", "")
    repo = to_write(request, ref) if ref else repository(request)
    demand_owner(request, user, user)
    objects = []
    for item in asked["objects"]:
        answer: dict[str, Any] = {"oid": item["oid"], "size": item["size"]}
        if item["oid"] not in repo.large_files:
            verify = f"{server.endpoint}/{web_path(repo)}.git/info/lfs/objects/verify"
            upload = {"href": f"{server.store_endpoint}/{server.sign(repo)}/{item['oid']}"}
            answer |= {"authenticated": True, "actions": {"upload": upload, "verify": {"href": verify}}}
        objects.append(answer)
    return JSONResponse({"transfer": "basic", "objects": objects}, media_type="application/vnd.git-lfs+json")


async def lfs_upload(request: Request) -> Response:
    """The address is the only right to write here, as in a store of files behind the server."""
    repo = server_of(request).signed.get(request.path_params["signature"])
    file = File(await request.body(), large=True)
    if repo is None:
        raise RefusalError(403, "this address has not been given out")
    if file.sha256 != request.path_params["sha256"]:
        raise RefusalError(400, f"the content is {file.sha256}")
    repo.large_files[file.sha256] = file.content
    return Response(status_code=200)


async def lfs_verify(request: Request) -> Response:
    user_of(request)
    repo, asked = repository(request), await fields(request)
    if len(repo.large_files.get(asked["oid"], b"")) != asked["size"]:
        raise RefusalError(404, f"{asked['oid']} has not been uploaded")
    return JSONResponse({})


def _change(repo: Repository, author: str, lines: list[dict[str, Any]]) -> tuple[Change, str | None]:
    """What the lines of a commit ask for, and the parent that they name."""
    header, added, deleted = {}, {}, []
    for line in lines:
        value = line["value"]
        if line["key"] == "header":
            header = value
        elif line["key"] == "file":
            content = value["content"].encode()
            added[value["path"]] = File(base64.b64decode(content) if value["encoding"] == "base64" else content, False)
        elif line["key"] == "lfsFile":
            if value["oid"] not in repo.large_files:
                raise RefusalError(400, f"{value['path']} points to a large file that has not been uploaded")
            added[value["path"]] = File(repo.large_files[value["oid"]], large=True)
        elif line["key"] == "deletedFile":
            deleted.append(value["path"])
        elif line["key"] == "deletedFolder":
            deleted.append(value["path"].rstrip("/") + "/")
        else:
            raise RefusalError(400, f"unknown operation {line['key']}")
    change = Change(header["summary"], author, header.get("description", ""), added, tuple(deleted))
    return change, header.get("parentCommit")


async def commit(request: Request) -> Response:
    revision, server, user = parameter(request, "revision"), server_of(request), user_of(request)
    repo = to_write(request, revision)
    lines = [json.loads(line) for line in (await request.body()).splitlines() if line.strip()]
    change, parent = _change(repo, user, lines)
    if "README.md" in change.added:
        errors, _ = findings(change.added["README.md"].content.decode(), repo.kind)
        if errors:
            raise RefusalError(400, "Invalid metadata in README.md: " + "; ".join(errors))
    address, proposed = f"{server.endpoint}/{web_path(repo)}", None
    try:
        if request.query_params.get("create_pr"):
            proposed = repo.propose(change, revision=revision, parent=parent)
            oid = repo.heads[proposed.ref]
        else:
            oid = repo.commit(change, revision=revision, parent=parent).oid
    except StaleParentError as error:
        raise RefusalError(412, f"{revision} has moved on to {error}, it is no longer at {parent}") from None
    except UnknownRevisionError:
        raise RefusalError(404, f"Invalid rev id: {revision}", code="RevisionNotFound") from None
    except UnknownFileError as error:
        raise RefusalError(404, f"A file with this name doesn't exist: {error}", code="EntryNotFound") from None
    answer = {"success": True, "commitOid": oid, "commitUrl": f"{address}/commit/{oid}", "hookOutput": ""}
    if proposed:
        answer["pullRequestUrl"] = f"{address}/discussions/{proposed.number}"
    return JSONResponse(answer)


async def branch(request: Request) -> Response:
    repo, asked, ref = to_write(request), await fields(request), f"refs/heads/{parameter(request, 'branch')}"
    if request.method == "DELETE":
        return _remove(repo, ref)
    if ref in repo.heads:
        raise RefusalError(409, f"{ref} exists already")
    repo.heads[ref] = at(repo, asked.get("startingPoint", "main")).oid
    return JSONResponse({})


async def tag(request: Request) -> Response:
    repo, asked, name = to_write(request), await fields(request), parameter(request, "revision")
    if request.method == "DELETE":
        return _remove(repo, f"refs/tags/{name}")
    ref = f"refs/tags/{asked['tag']}"
    if ref in repo.heads:
        raise RefusalError(409, f"{ref} exists already")
    repo.heads[ref] = at(repo, name).oid
    return JSONResponse({})


def _remove(repo: Repository, ref: str) -> Response:
    if ref == "refs/heads/main":
        raise RefusalError(403, "main cannot be deleted")
    if repo.heads.pop(ref, None) is None:
        raise RefusalError(404, f"Invalid rev id: {ref}", code="RevisionNotFound")
    return JSONResponse({})


def _described(repo: Repository, proposed: PullRequest) -> dict[str, Any]:
    moment = repo.at(proposed.ref).date
    author = {"name": proposed.change.author}
    answer = {"num": proposed.number, "title": proposed.change.message, "author": author, "createdAt": moment}
    answer |= {"status": proposed.status, "isPullRequest": True, "filesWithConflicts": [], "diff": ""}
    answer |= {"repo": {"name": repo.repo_id, "type": repo.kind}}
    answer |= {"changes": {"base": proposed.base, "mergeCommitId": proposed.merged_as}}
    latest = {"edited": False, "hidden": False, "latest": {"raw": proposed.change.description}}
    event = {"id": f"{proposed.number:024x}", "type": "comment", "createdAt": moment, "author": author, "data": latest}
    return {**answer, "events": [event]}


async def discussions(request: Request) -> Response:
    if request.method == "GET":
        repo = repository(request)
        found = [_described(repo, proposed) for proposed in repo.pull_requests.values()]
        return JSONResponse({"discussions": found, "count": len(found), "start": 0})
    user, repo, asked = user_of(request), repository(request), await fields(request)
    if not asked.get("pullRequest"):
        raise RefusalError(400, "only pull requests are kept here")
    return JSONResponse(_described(repo, repo.propose(Change(asked["title"], user, asked.get("description", "")))))


def _pull_request(request: Request, repo: Repository) -> PullRequest:
    number = request.path_params["number"]
    if number not in repo.pull_requests:
        raise RefusalError(404, f"there is no discussion {number}")
    return repo.pull_requests[number]


async def discussion(request: Request) -> Response:
    repo = repository(request)
    return JSONResponse(_described(repo, _pull_request(request, repo)))


async def merge(request: Request) -> Response:
    repo = to_write(request)
    return JSONResponse(_described(repo, repo.merge(_pull_request(request, repo).number)))
