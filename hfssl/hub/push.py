"""One atomic push: what is there is looked at, one commit on top of it is sent, and a lost answer is looked into.

Only huggingface_hub talks to the Hub. A commit names the one that it was made for: if another came between, it is refused.
"""

import contextlib
import hashlib
import json
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import yaml
from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard, get_token
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import logging as hub_logging

from hfssl.hub.errors import (
    HTTP_ERROR,
    SOMEBODY_ELSE,
    WAITS,
    HubError,
    again,
    explained,
    may_pass,
    status_of,
    was_commit,
)
from hfssl.hub.files import CARD, MANIFEST, HubFile, is_of_card
from hfssl.run_dir import Json, JsonView

MAIN = "main"
_THEIRS = (".gitattributes", ".gitignore", "LICENSE")  # files that say nothing of what a repository holds
_STALE, _EXISTS = 412, 409


class Target(NamedTuple):
    """A repository to commit to.

    head: its newest commit on `revision`, None where it is still to be made; names: its files; ours: those of an earlier
    publication; card: the metadata of its card.
    """

    repo_id: str
    revision: str
    head: str | None
    names: Sequence[str] = ()
    ours: Sequence[str] = ()
    card: JsonView = MappingProxyType({})


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
    if not (token.isascii() and token.isprintable()):
        raise HubError(
            "the access token holds characters that no token has: copy it again, or log in with `hf auth login`"
        )
    api = HfApi(token=token)
    with explained(hub_model_id):
        who = again(api.whoami)
        names = [who["name"], *(organisation["name"] for organisation in who.get("orgs", []))]
    owner, _, name = hub_model_id.rpartition("/")
    if owner and owner not in names:
        raise HubError(
            f"{hub_model_id} is not yours: the access token is that of {names[0]}, who can write to {', '.join(names)}"
        )
    return api, f"{owner or names[0]}/{name}"


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
        head = info.sha  # a new branch starts where main is
        if revision != MAIN:
            with contextlib.suppress(RevisionNotFoundError):
                head = again(lambda: api.model_info(repo_id, revision=revision)).sha
        names = again(lambda: api.list_repo_files(repo_id, revision=head))
        target = Target(
            repo_id, revision, head, names, _listed(api, repo_id, head, names), _card(api, repo_id, head, names)
        )
    others = [name for name in names if name not in _THEIRS]
    if others and not {"hfssl", recipe} <= set(target.card.get("tags", [])):
        shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise HubError(
            f"{repo_id} holds something else than a run of {recipe} ({shown}): it stays as it is; name another repository"
        )
    return target


def _card(api: HfApi, repo_id: str, head: str | None, names: Sequence[str]) -> Json:
    """The metadata of the card that is there, as far as it can be read."""
    if CARD not in names:
        return {}
    path = again(lambda: api.hf_hub_download(repo_id, CARD, revision=head))
    try:
        data = ModelCard(Path(path).read_text(encoding="utf-8"), ignore_metadata_errors=True).data.to_dict()
    except (ValueError, TypeError, yaml.YAMLError):
        return {}
    tags = data.get("tags")
    return data | {"tags": [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []}


def _listed(api: HfApi, repo_id: str, head: str | None, names: Sequence[str]) -> list[str]:
    """What an earlier publication says that it brought."""
    if MANIFEST not in names:
        return []
    path = again(lambda: api.hf_hub_download(repo_id, MANIFEST, revision=head))
    try:
        return [str(name) for name in json.loads(Path(path).read_text(encoding="utf-8"))["files"]]
    except (ValueError, KeyError, TypeError):
        return []


def push(
    api: HfApi, target: Target, files: Sequence[HubFile], *, recipe: str, message: str, private: bool, create_pr: bool
) -> Published:
    """One commit after which the repository holds `files`; what an earlier publication brought and this one does not is deleted.

    Raises:
        HubError: it did not get there, and the repository is as it was; or, said so, nobody can tell.
    """
    repo_id, is_new = target.repo_id, target.head is None
    try:
        with explained(repo_id), _quiet_client():
            if is_new:
                target = _created(api, target, recipe, private)
            if target.revision != MAIN:
                again(lambda: api.create_branch(repo_id, branch=target.revision, revision=target.head, exist_ok=True))
            return _committed(api, target, files, message, create_pr)
    except HubError as error:
        if not is_new or target.head is None:
            raise
        raise HubError(f"{error} (the new, empty repository {api.endpoint}/{repo_id} is there)") from error


@contextlib.contextmanager
def _quiet_client() -> Iterator[None]:
    """Without the client's own remarks on cards without a license and on commits of nothing."""
    before = hub_logging.get_verbosity()
    hub_logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Warnings while validating metadata", category=UserWarning)
            yield
    finally:
        hub_logging.set_verbosity(before)


def _created(api: HfApi, target: Target, recipe: str, private: bool) -> Target:
    """The repository made now; or, where somebody made it meanwhile, looked at like any other."""
    try:
        again(lambda: api.create_repo(target.repo_id, private=private))
    except HfHubHTTPError as error:
        if status_of(error) != _EXISTS:
            raise
    made = look_at(api, target.repo_id, MAIN, recipe=recipe, private=private)
    return made._replace(revision=target.revision)


def _committed(api: HfApi, target: Target, files: Sequence[HubFile], message: str, create_pr: bool) -> Published:
    gone = _left_over(target, files)
    may_have_landed = False
    for wait in (*WAITS, None):
        try:
            done = _send(api, target, files, gone, message, create_pr)
        except Exception as error:
            is_late = may_have_landed and status_of(error) == _STALE
            is_answer_lost = not isinstance(error, HTTP_ERROR) or (may_pass(error) and was_commit(error))
            if is_late or is_answer_lost:
                may_have_landed = True
                landed = _where_it_landed(api, target, files, gone, create_pr and isinstance(error, HTTP_ERROR))
                if landed is not None:
                    return Published(landed, True)
            if wait is None or not isinstance(error, HTTP_ERROR) or not may_pass(error):
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


def _left_over(target: Target, files: Sequence[HubFile]) -> list[str]:
    """Names of an earlier publication that this one does not have; of a card only, those of its figures and scores."""
    mine = {file.name for file in files}
    is_card = all(is_of_card(name) for name in mine)
    there = [name for name in target.ours if name in target.names and name not in mine]
    return [name for name in there if is_of_card(name) or not is_card]


def _where_it_landed(
    api: HfApi, target: Target, files: Sequence[HubFile], gone: Sequence[str], is_request: bool
) -> str | None:
    """The address of the commit whose answer was lost; None where it was not carried out."""
    page = f"{api.endpoint}/{target.repo_id}"
    if is_request:
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
