"""Repositories in memory, with what git would know of them: commits, branches, tags and the refs of pull requests."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property

LARGE_SUFFIXES = (".safetensors", ".bin", ".parquet", ".arrow", ".npy", ".npz", ".onnx", ".pt", ".zip", ".gz")
LARGE_FROM_BYTES = 10 * 2**20
SAMPLE_BYTES = 512
FIRST_MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


class UnknownRevisionError(LookupError):
    """No branch, tag, pull request or commit has this name."""


class UnknownFileError(LookupError):
    """The commit has no such file."""


class StaleParentError(ValueError):
    """The branch has moved on from the commit that was to be the parent."""


def git_oid(content: bytes, kind: str = "blob") -> str:
    return hashlib.sha1(f"{kind} {len(content)}\0".encode() + content).hexdigest()


def is_large(path: str, size: int, sample: bytes) -> bool:
    """Whether a file goes to the store of large files: by its suffix, its size, or because it is no text."""
    return size > 0 and (path.endswith(LARGE_SUFFIXES) or size > LARGE_FROM_BYTES or b"\0" in sample)


@dataclass(frozen=True)
class File:
    """One content; a large one stands in git as a pointer to it."""

    content: bytes
    large: bool

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def pointer(self) -> bytes:
        lines = ["version https://git-lfs.github.com/spec/v1", f"oid sha256:{self.sha256}", f"size {len(self.content)}"]
        return ("\n".join(lines) + "\n").encode()

    @cached_property
    def oid(self) -> str:
        return git_oid(self.pointer if self.large else self.content)

    @property
    def upload_oid(self) -> str:
        """What a client compares with its own file before it uploads."""
        return self.sha256 if self.large else self.oid


def file_of(path: str, content: bytes) -> File:
    return File(content, is_large(path, len(content), content[:SAMPLE_BYTES]))


@dataclass(frozen=True)
class Change:
    """What a commit does to its parent's files; a path with a slash at its end stands for all below it."""

    message: str
    author: str
    description: str = ""
    added: Mapping[str, File] = field(default_factory=dict)
    deleted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Commit:
    oid: str
    parent: str | None
    change: Change
    moment: datetime
    files: dict[str, File]

    @property
    def message(self) -> str:
        return self.change.message

    @property
    def date(self) -> str:
        return self.moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


@dataclass(frozen=True)
class PullRequest:
    number: int
    base: str
    start: str
    change: Change
    status: str = "open"
    merged_as: str | None = None

    @property
    def ref(self) -> str:
        return f"refs/pr/{self.number}"


class Repository:
    """A model or a data set with its whole history."""

    def __init__(self, kind: str, repo_id: str, *, private: bool, author: str) -> None:
        self.kind, self.repo_id, self.private = kind, repo_id, private
        self.owner = repo_id.split("/")[0]
        self.commits: dict[str, Commit] = {}
        self.heads: dict[str, str] = {}  # full name of a ref -> commit
        self.pull_requests: dict[int, PullRequest] = {}
        self.large_files: dict[str, bytes] = {}  # sha256 -> content, uploaded and maybe not yet in a commit
        attributes = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LARGE_SUFFIXES)
        first = Change(
            "initial commit", author, added={".gitattributes": file_of(".gitattributes", attributes.encode())}
        )
        self.heads["refs/heads/main"] = self._append(None, first)

    def ref(self, revision: str) -> str | None:
        """The full name of a branch, tag or pull request."""
        if revision == "HEAD":
            return "refs/heads/main"
        names = (revision, f"refs/heads/{revision}", f"refs/tags/{revision}")
        return next((name for name in names if name in self.heads), None)

    def resolve(self, revision: str) -> str:
        """The commit that a branch, a tag, a pull request or the beginning of an oid stands for."""
        if ref := self.ref(revision):
            return self.heads[ref]
        found = [oid for oid in self.commits if len(revision) >= 7 and oid.startswith(revision)]
        if len(found) != 1:
            raise UnknownRevisionError(revision)
        return found[0]

    def at(self, revision: str) -> Commit:
        return self.commits[self.resolve(revision)]

    def files(self, revision: str = "main") -> dict[str, bytes]:
        return {path: file.content for path, file in self.at(revision).files.items()}

    def log(self, revision: str = "main") -> list[Commit]:
        """The newest first."""
        commits, oid = [], self.resolve(revision)
        while oid:
            commits.append(self.commits[oid])
            oid = commits[-1].parent or ""
        return commits

    def commit(self, change: Change, *, revision: str = "main", parent: str | None = None) -> Commit:
        """A new head of a branch or pull request; `parent` is the head that the author has seen."""
        ref = self.ref(revision)
        if ref is None or ref.startswith("refs/tags/"):
            raise UnknownRevisionError(revision)
        head = self.heads[ref]
        if parent and not head.startswith(parent):
            raise StaleParentError(head)
        self.heads[ref] = self._append(head, change)
        return self.commits[self.heads[ref]]

    def propose(self, change: Change, *, revision: str = "main", parent: str | None = None) -> PullRequest:
        """A pull request, open, with one commit on `parent` or on the head of `revision`."""
        start = self.resolve(parent or revision)
        request = PullRequest(len(self.pull_requests) + 1, self.ref(revision) or revision, start, change)
        self.heads[request.ref] = self._append(start, change) if change.added or change.deleted else start
        self.pull_requests[request.number] = request
        return request

    def merge(self, number: int) -> PullRequest:
        request = self.pull_requests[number]
        before, after = self.commits[request.start].files, self.at(request.ref).files
        added = {path: file for path, file in after.items() if before.get(path) != file}
        deleted = tuple(path for path in self.at(request.base).files if path in before and path not in after)
        message = f"{request.change.message} (#{number})"
        merged = self.commit(
            replace(request.change, message=message, added=added, deleted=deleted), revision=request.base
        )
        self.pull_requests[number] = replace(request, status="merged", merged_as=merged.oid)
        return self.pull_requests[number]

    def _append(self, parent: str | None, change: Change) -> str:
        files = dict(self.commits[parent].files) if parent else {}
        for path in change.deleted:
            gone = [name for name in files if name == path or (path.endswith("/") and name.startswith(path))]
            if not gone:
                raise UnknownFileError(path)
            for name in gone:
                del files[name]
        files |= change.added
        tree = "".join(f"{path} {file.oid}\n" for path, file in sorted(files.items()))
        number = len(self.commits)
        oid = git_oid(f"{self.kind} {self.repo_id} {number} {parent}\n{change.message}\n{tree}".encode(), "commit")
        moment = FIRST_MOMENT + timedelta(seconds=number)
        self.commits[oid] = Commit(oid, parent, change, moment, dict(sorted(files.items())))
        self.large_files |= {file.sha256: file.content for file in change.added.values() if file.large}
        return oid
