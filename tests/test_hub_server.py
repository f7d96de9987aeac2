"""The local server before its real clients: huggingface_hub, transformers and datasets, each in a fresh process."""

import hashlib
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import BertConfig, BertModel

from tests.support.hub_client import client
from tests.support.hub_server import OTHER, OTHER_TOKEN, LocalHub
from tests.support.hub_store import UnknownRevisionError

FILES = {
    "config.json": b'{"a": 1}\n',
    "empty.txt": b"",
    "figures/loss % #1.png": b"\x89PNG\0\1\2",
    "model.safetensors": bytes(range(256)) * 4,
    "words/größe.txt": "größer\n".encode(),
}
WITH_FILES = f"files = {FILES!r}\n"


def blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def test_a_commit_arrives_whole_and_comes_back_in_the_same_bytes(hub: LocalHub) -> None:
    script = """
url = api.create_repo("ada/model", private=True)
made = commit(files)
known = {file.rfilename: [file.size, file.blob_id, file.lfs and file.lfs.sha256]
         for file in api.model_info("ada/model", files_metadata=True).siblings}
folder = Path(api.snapshot_download("ada/model"))
back = {path: (folder / path).read_bytes() == content for path, content in files.items()}
listed = [item.path for item in api.list_repo_tree("ada/model", "figures")]
infos = [info.path for info in api.get_paths_info("ada/model", ["words", "config.json", "nothing"], expand=True)]
answer([str(url), made.oid, known, back, listed, infos])
"""
    url, oid, known, back, listed, infos = client(hub, WITH_FILES + script)
    repo = hub.repository("ada/model")
    assert url == f"{hub.endpoint}/ada/model"
    assert repo.private
    assert repo.resolve("main") == oid
    assert [commit.message for commit in repo.log()] == ["a change", "initial commit"]
    assert repo.files().items() >= FILES.items()
    assert back == dict.fromkeys(FILES, True)
    assert listed == ["figures/loss % #1.png"]
    assert sorted(infos) == ["config.json", "words"]
    for path in ("config.json", "empty.txt", "words/größe.txt"):
        assert known[path] == [len(FILES[path]), blob(FILES[path]), None]
    for path in ("model.safetensors", "figures/loss % #1.png"):
        assert known[path][2] == hashlib.sha256(FILES[path]).hexdigest()


def test_no_token_reaches_the_store_of_large_files(hub: LocalHub) -> None:
    hub.create("ada/model", private=True)
    client(hub, WITH_FILES + 'commit(files); api.snapshot_download("ada/model")')
    stored = hub.requests("lfs_upload") + hub.requests("large_file")
    assert [request.method for request in stored] == ["PUT", "PUT", "GET", "GET"]
    assert {f"http://{request.headers['host']}/large-files" for request in stored} == {hub.store_endpoint}
    assert not any("authorization" in request.headers for request in stored)
    assert all("authorization" in request.headers for request in hub.received if request not in stored)


def test_a_part_of_a_file_is_answered_with_that_part(hub: LocalHub) -> None:
    hub.create("ada/model")
    hub.commit("ada/model", FILES)
    names, parts = ("config.json", "model.safetensors"), (slice(2, 5), slice(0, 1), slice(4, None))
    asked = [(f"ada/model/{name}", part.start, part.stop) for name in names for part in parts]
    script = f"""
from huggingface_hub import HfFileSystem
answer([list(HfFileSystem().cat_file(*one)) for one in {asked}])
"""
    assert client(hub, script) == [list(FILES[name][part]) for name in names for part in parts]
    statuses = {request.status for request in hub.received if "range" in request.headers}
    assert statuses == {206, 302}


def test_files_that_have_not_changed_are_not_sent_again(hub: LocalHub) -> None:
    hub.create("ada/model")
    script = """
first, second = commit(files), commit(files)
third = commit(files | {"config.json": b"{}"})
answer([first.oid, second.oid, third.oid])
"""
    first, second, third = client(hub, WITH_FILES + script)
    assert first == second != third
    assert len(hub.requests("commit")) == 2
    assert len(hub.requests("lfs_upload")) == 2
    assert [json.loads(line)["key"] for line in hub.requests("commit")[1].body.splitlines()] == ["header", "file"]
    assert hub.repository("ada/model").files().items() >= (FILES | {"config.json": b"{}"}).items()


def test_a_large_file_is_known_by_its_content_under_any_name(hub: LocalHub) -> None:
    hub.create("ada/model")
    client(hub, 'commit({"a.bin": b"weights"}); commit({"b.bin": b"weights"})')
    assert len(hub.requests("lfs_upload")) == 1
    assert hub.repository("ada/model").files()["b.bin"] == b"weights"


REFUSALS = {
    'api.create_repo("ada/open")': ["HfHubHTTPError", 409],
    'api.create_repo("grace/mine")': ["HfHubHTTPError", 403],
    'api.delete_repo("grace/open")': ["HfHubHTTPError", 403],
    'api.delete_repo("ada/nothing")': ["RepositoryNotFoundError", 404],
    'commit({"a": b"a"}, "grace/open")': ["HfHubHTTPError", 403],
    'commit({"a": b"a"}, "grace/hidden")': ["RepositoryNotFoundError", 404],
    'commit({"a": b"a"}, "ada/nothing")': ["RepositoryNotFoundError", 404],
    'commit({"a": b"a"}, "ada/open", revision="nothing")': ["RevisionNotFoundError", 404],
    'commit({"a": b"a"}, "ada/open", parent_commit="0" * 40)': ["HfHubHTTPError", 412],
    'api.delete_file("nothing", "ada/open")': ["RemoteEntryNotFoundError", 404],
    'api.hf_hub_download("ada/open", "nothing")': ["RemoteEntryNotFoundError", 404],
    'api.snapshot_download("ada/open", revision="nothing")': ["RevisionNotFoundError", 404],
    'api.snapshot_download("ada/hidden", token=False)': ["RepositoryNotFoundError", 401],
    'api.model_info("ada/nothing", token=False)': ["RepositoryNotFoundError", 401],
    'api.model_info("ada/hidden", token="wrong")': ["HfHubHTTPError", 401],
    'api.whoami(token="wrong")': ["HfHubHTTPError", 401],
    'api.create_repo("ada/new", token=False)': ["HfHubHTTPError", 401],
    'commit({"a": b"a"}, "ada/open", token=False)': ["RepositoryNotFoundError", 401],
    'commit({"a": b"a"}, "ada/open", token="reader")': ["HfHubHTTPError", 403],
    'api.auth_check("ada/open", write=True, token="reader")': ["HfHubHTTPError", 403],
    'api.dataset_info("ada/open")': ["RepositoryNotFoundError", 404],
    'api.create_branch("ada/open", branch="main")': ["HfHubHTTPError", 409],
    'api.create_tag("ada/open", tag="v1", revision="nothing")': ["RevisionNotFoundError", 404],
    'api.delete_branch("ada/open", branch="main")': ["HfHubHTTPError", 403],
}


def test_refusals_are_told_apart_and_change_nothing(hub: LocalHub) -> None:
    hub.tokens["reader"] = "ada"
    hub.read_only_tokens.add("reader")
    for repo_id, private in (("ada/open", False), ("ada/hidden", True), ("grace/open", False), ("grace/hidden", True)):
        hub.create(repo_id, private=private)
    before = {key: dict(repo.heads) for key, repo in hub.repositories.items()}
    calls = "".join(f"lambda: {call}, " for call in REFUSALS)
    assert client(hub, f"answer([refusal(call) for call in ({calls})])") == list(REFUSALS.values())
    assert {key: dict(repo.heads) for key, repo in hub.repositories.items()} == before


def test_a_name_that_is_taken_is_no_error_for_those_who_expect_it(hub: LocalHub) -> None:
    hub.create("ada/model", private=True)
    hub.organisations["ada"] = {"analysts"}
    script = """
taken = api.create_repo("ada/model", exist_ok=True)
made = api.create_repo("analysts/model", repo_type="dataset")
api.update_repo_settings("ada/model", private=False)
api.delete_repo("ada/gone", missing_ok=True)
answer([taken, made, [one["name"] for one in api.whoami()["orgs"]]])
"""
    assert client(hub, script) == [f"{hub.endpoint}/ada/model", f"{hub.endpoint}/datasets/analysts/model", ["analysts"]]
    assert not hub.repository("ada/model").private
    assert hub.repository("analysts/model", "dataset").owner == "analysts"


def test_branches_tags_and_deletions(hub: LocalHub) -> None:
    hub.create("ada/model")
    hub.commit("ada/model", {"a.txt": b"1", "old/b.txt": b"b", "old/c.txt": b"c"})
    script = """
api.create_tag("ada/model", tag="v1")
api.create_branch("ada/model", branch="try/out")
operations = [Delete("old/", is_folder=True), Add("a.txt", b"2")]
made = api.create_commit("ada/model", operations, commit_message="less", revision="try/out")
api.delete_file("a.txt", "ada/model")
refs = api.list_repo_refs("ada/model", include_pull_requests=True)
text = Path(api.hf_hub_download("ada/model", "a.txt", revision="v1")).read_text()
log = [one.title for one in api.list_repo_commits("ada/model", revision="try/out")]
answer([made.oid, {ref.ref: ref.target_commit for ref in refs.branches + refs.tags}, text, log])
api.delete_tag("ada/model", tag="v1")
api.delete_branch("ada/model", branch="try/out")
"""
    oid, refs, text, log = client(hub, script)
    repo = hub.repository("ada/model")
    assert refs.keys() == {"refs/heads/main", "refs/heads/try/out", "refs/tags/v1"}
    assert refs["refs/heads/try/out"] == oid
    assert text == "1"
    assert log == ["less", "A commit by hand", "initial commit"]
    assert repo.files(oid).keys() == {".gitattributes", "a.txt"}
    assert repo.files().keys() == {".gitattributes", "old/b.txt", "old/c.txt"}
    assert repo.heads.keys() == {"refs/heads/main"}


def test_a_pull_request_leaves_main_alone_until_it_is_merged(hub: LocalHub) -> None:
    hub.create("ada/model")
    hub.commit("ada/model", {"a.txt": b"a", "b.txt": b"b"})
    script = """
made = commit({"a.txt": b"other", "w.bin": b"weights"}, create_pr=True, commit_description="why")
more = api.create_commit("ada/model", [Delete("b.txt")], commit_message="more", revision=made.pr_revision)
details = api.get_discussion_details("ada/model", made.pr_num)
text = Path(api.hf_hub_download("ada/model", "a.txt", revision=made.pr_revision)).read_text()
answer([made.pr_url, details.status, details.author, details.target_branch, text])
"""
    url, status, author, target, text = client(hub, script, token=OTHER_TOKEN)
    repo = hub.repository("ada/model")
    assert url == f"{hub.endpoint}/ada/model/discussions/1"
    assert [status, author, target, text] == ["open", OTHER, "refs/heads/main", "other"]
    assert repo.files().keys() == {".gitattributes", "a.txt", "b.txt"}
    hub.commit("ada/model", {"c.txt": b"c"})
    assert client(hub, 'answer(api.merge_pull_request("ada/model", 1) is None)')
    assert repo.files().keys() == {".gitattributes", "a.txt", "c.txt", "w.bin"}
    assert repo.pull_requests[1].status == "merged"


def test_a_model_comes_back_through_transformers(hub: LocalHub, tmp_path: Path) -> None:
    config = BertConfig(
        vocab_size=10,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=8,
    )
    model = BertModel(config)
    model.save_pretrained(tmp_path / "bert")
    hub.create("ada/bert", private=True)
    script = f"""
api.upload_folder(repo_id="ada/bert", folder_path={str(tmp_path / "bert")!r})
from transformers import AutoModel
model = AutoModel.from_pretrained("ada/bert")
answer([type(model).__name__, {{name: value.tolist() for name, value in model.state_dict().items()}}])
"""
    name, state = client(hub, script)
    assert name == "BertModel"
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(torch.tensor(state[key]), value) for key, value in model.state_dict().items())


def test_rows_come_back_through_datasets(hub: LocalHub) -> None:
    rows = {"text": ["one", "two", "three"], "label": [0, 1, 0]}
    parquet = io.BytesIO()
    pq.write_table(pa.table(rows), parquet)
    hub.create("ada/texts", kind="dataset", private=True)
    hub.commit("ada/texts", {"data/train-00000-of-00001.parquet": parquet.getvalue()}, kind="dataset")
    script = """
from datasets import load_dataset
answer(load_dataset("ada/texts", split="train").to_dict())
"""
    assert client(hub, script) == rows


def test_a_revision_is_a_ref_or_the_beginning_of_a_commit(hub: LocalHub) -> None:
    repo = hub.create("ada/model")
    oid = repo.resolve("main")
    assert [repo.resolve(name) for name in ("refs/heads/main", oid, oid[:7])] == [oid] * 3
    for name in (oid[:6], "0" * 40, "v1"):
        with pytest.raises(UnknownRevisionError):
            repo.resolve(name)
