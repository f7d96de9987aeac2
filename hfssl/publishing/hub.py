"""One atomic push: what is there is looked at, one commit on top of it is sent, and a lost answer is looked into.

huggingface_hub alone talks to the Hub. A commit names the one that it was made for: if another came between, it is refused.
"""

import contextlib
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import (
    CommitInfo,
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    ModelCard,
    get_token,
)
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile

from hfssl.publishing.hub_errors import (
    HTTP_ERROR,
    SOMEBODY_ELSE,
    WAITS,
    HubError,
    again,
    explained,
    may_pass,
    was_commit,
)
from hfssl.publishing.hub_files import CARD, HubFile, is_of_card, is_ours

MAIN = "main"
_THEIRS = (".gitattributes", ".gitignore", "LICENSE")  # files that stay, whoever made them


class Target(NamedTuple):
    """A repository to commit to; head: its newest commit on `revision`, None where the repository is still to be made."""

    repo_id: str
    revision: str
    head: str | None


class Published(NamedTuple):
    """url: of the commit or the pull request; changed: False where the repository held all of it already."""

    url: str
    changed: bool


def writer_of(hub_model_id: str) -> tuple[HfApi, str]:
    """(client, USER/NAME), after the Hub has said whose token this is.

    Raises:
        HubError: no network, no or a wrong token, or a name that belongs to somebody else.
    """
    token = get_token()
    if not token:
        raise HubError("there is no access token: log in with `hf auth login`, or set HF_TOKEN")
    api = HfApi(token=token)
    with explained(hub_model_id):
        who = again(api.whoami)
    names = [who["name"], *(organisation["name"] for organisation in who.get("orgs", []))]
    owner, _, name = hub_model_id.rpartition("/")
    if owner and owner not in names:
        raise HubError(
            f"{hub_model_id} is not yours: the access token is that of {who['name']}, who can write to {', '.join(names)}"
        )
    return api, f"{owner or who['name']}/{name}"


def look_at(api: HfApi, repo_id: str, revision: str, *, recipe: str, private: bool) -> Target:
    """Where a commit would go.

    Raises:
        HubError: the repository holds something that is no run of `recipe`, or is public and should be private.
    """
    with explained(repo_id):
        try:
            info = again(lambda: api.model_info(repo_id))
        except RepositoryNotFoundError:
            return Target(repo_id, revision, None)
        if private and not info.private:
            raise HubError(
                f"{repo_id} is there and public: make it private in its settings first, or leave out --private"
            )
        target = Target(repo_id, revision, info.sha)  # a new branch starts where main is
        if revision != MAIN:
            with contextlib.suppress(RevisionNotFoundError):
                target = target._replace(head=again(lambda: api.model_info(repo_id, revision=revision)).sha)
        _refuse_others(api, target, recipe)
        return target


def _refuse_others(api: HfApi, target: Target, recipe: str) -> None:
    there = again(lambda: api.list_repo_files(target.repo_id, revision=target.head))
    names = [name for name in there if name not in _THEIRS]
    if not names:
        return
    tags: set[str] = set()
    if CARD in names:
        card = again(lambda: api.hf_hub_download(target.repo_id, CARD, revision=target.head))
        tags = set(ModelCard.load(card, ignore_metadata_errors=True).data.tags or [])
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    if not {"hfssl", recipe} <= tags:
        raise HubError(
            f"{target.repo_id} holds something else than a run of {recipe} ({shown}): it stays as it is; name another repository"
        )


def push(
    api: HfApi, target: Target, files: Sequence[HubFile], *, message: str, private: bool, create_pr: bool
) -> Published:
    """One commit after which the repository holds `files`; what an earlier one left of files like these is deleted.

    Raises:
        HubError: it did not get there, and the repository is as it was; or, said so, nobody can tell.
    """
    repo_id = target.repo_id
    with explained(repo_id):
        if target.head is None:
            again(lambda: api.create_repo(repo_id, private=private, exist_ok=True))
            target = target._replace(head=again(lambda: api.model_info(repo_id)).sha)
        if target.revision != MAIN:
            again(lambda: api.create_branch(repo_id, branch=target.revision, revision=target.head, exist_ok=True))
        return _committed(api, target, files, message, create_pr)


def _committed(api: HfApi, target: Target, files: Sequence[HubFile], message: str, create_pr: bool) -> Published:
    gone = _left_over(api, target, files)
    for wait in (*WAITS, None):
        try:
            done = _send(api, target, files, gone, message, create_pr)
        except HTTP_ERROR as error:
            if not may_pass(error):
                raise
            if was_commit(error):
                landed = _where_it_landed(api, target, files, gone, create_pr)
                if landed is not None:
                    return Published(landed, True)
            if wait is None:
                raise
            time.sleep(wait)
        else:
            return Published(done.pr_url or done.commit_url, done.oid != target.head)
    raise AssertionError("the last attempt returns or raises")


def _send(
    api: HfApi, target: Target, files: Sequence[HubFile], gone: Sequence[str], message: str, create_pr: bool
) -> CommitInfo:
    return api.create_commit(
        target.repo_id,
        [
            *(CommitOperationAdd(file.name, file.content) for file in files),
            *(CommitOperationDelete(name) for name in gone),
        ],
        commit_message=message,
        revision=target.revision,
        parent_commit=target.head,
        create_pr=create_pr,
    )


def _left_over(api: HfApi, target: Target, files: Sequence[HubFile]) -> list[str]:
    """Names of an earlier publication that this one does not have; of a card alone, those of its figures and scores."""
    mine = {file.name for file in files}
    is_stale = is_of_card if all(is_of_card(name) for name in mine) else is_ours
    there = again(lambda: api.list_repo_files(target.repo_id, revision=target.head))
    return [name for name in there if name not in mine and is_stale(name)]


def _where_it_landed(
    api: HfApi, target: Target, files: Sequence[HubFile], gone: Sequence[str], create_pr: bool
) -> str | None:
    """The address of the commit whose answer was lost; None where it was not carried out."""
    page = f"{api.endpoint}/{target.repo_id}"
    if create_pr:
        raise HubError(
            f"the pull request was sent and the answer was lost: see whether it is at {page}/discussions before you try again"
        )
    try:
        head = again(lambda: api.model_info(target.repo_id, revision=target.revision)).sha
        if head == target.head:
            return None
        there = again(lambda: list(api.list_repo_tree(target.repo_id, revision=head, recursive=True)))
    except HTTP_ERROR as error:
        raise HubError(
            f"the commit was sent and the answer was lost: see whether it is at {page} before you try again"
        ) from error
    found = {entry.path: entry for entry in there if isinstance(entry, RepoFile)}
    is_mine = all(file.name in found and _is_same(file, found[file.name]) for file in files)
    if is_mine and not any(name in found for name in gone):
        return f"{page}/commit/{head}"
    raise HubError(SOMEBODY_ELSE.format(about=target.repo_id))


def _is_same(file: HubFile, there: RepoFile) -> bool:
    content = file.content.read_bytes() if isinstance(file.content, Path) else file.content
    if there.lfs is not None:
        return hashlib.sha256(content).hexdigest() == there.lfs.sha256
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == there.blob_id
