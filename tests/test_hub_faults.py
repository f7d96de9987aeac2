"""What a test can order from the local server, and what it can see of the requests."""

from pathlib import Path

import pytest

from tests.support.hub_client import client
from tests.support.hub_server import DROPPED, OTHER, OWNER_TOKEN, LocalHub


def test_a_fault_comes_when_and_where_it_was_ordered(hub: LocalHub) -> None:
    hub.create("ada/model")
    hub.fail("preupload", 403)
    hub.fail("lfs_upload", 403, skip=2)
    hub.fail("commit", 503, applied=True)
    hub.fail("commit", DROPPED, applied=True)
    hub.fail("commit", 500)
    script = """
large = {f"{number}.bin": bytes([number]) * 9 for number in range(4)}
found = [refusal(commit, large) for _ in range(2)]
found += [refusal(commit, {"a.txt": text}) for text in (b"1", b"2", b"3", b"3")]
answer(found)
"""
    refused, half, unknown, dropped, nothing, fine = client(hub, script)
    assert refused == ["HfHubHTTPError", 403]
    assert half[0] == "RuntimeError"
    assert unknown == ["HfHubHTTPError", 503]
    assert dropped[0] == "RemoteProtocolError"
    assert nothing == ["HfHubHTTPError", 500]
    assert fine is None
    assert [request.status for request in hub.requests("commit")] == [503, DROPPED, 500, 200]
    repo = hub.repository("ada/model")
    assert [commit.files["a.txt"].content for commit in repo.log()[:-1]] == [b"3", b"2", b"1"]
    uploads = [request.status for request in hub.requests("lfs_upload")]
    assert uploads[:3] == [200, 200, 403]
    assert len(repo.large_files) == uploads.count(200)


def test_another_commit_can_come_first(hub: LocalHub) -> None:
    hub.create("ada/model")
    hub.before("commit", lambda: hub.commit("ada/model", {"a.txt": b"grace"}, author=OTHER))
    script = """
head = api.model_info("ada/model").sha
answer([refusal(commit, {"a.txt": b"ada"}, parent_commit=head) for _ in range(2)])
"""
    assert client(hub, script) == [["HfHubHTTPError", 412]] * 2
    assert [commit.change.author for commit in hub.repository("ada/model").log()] == [OTHER, "ada"]


def ask(folder: Path, script: str) -> None:
    with LocalHub(folder) as hub:
        hub.before("whoami", lambda: 1 / 0)
        client(hub, script)


@pytest.mark.parametrize("call", ["api.whoami", "api.list_spaces().__next__"])
def test_a_mistake_or_gap_of_the_server_does_not_go_unseen(call: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="the local server itself failed"):
        ask(tmp_path, f"refusal({call})")


def test_every_uploaded_byte_can_be_searched(hub: LocalHub) -> None:
    hub.create("ada/model")
    client(hub, 'commit({"a.txt": b"secret one", "a.bin": b"secret two", "größe": b""})')
    client(hub, 'refusal(api.hf_hub_download, "ada/model", "secret fünf")')
    sent = hub.uploaded()
    assert all(secret in sent for secret in (b"secret one", b"secret two", "größe".encode(), "secret fünf".encode()))
    assert b"secret three" not in sent
    assert OWNER_TOKEN.encode() not in sent


def test_the_environment_is_fresh_and_holds_no_setting_of_this_process(
    hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "http_proxy", "HF_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.setenv(name, "/of/this/process")
    first, second, nobody = hub.environment(), hub.environment(), hub.environment(token=None)
    assert "/of/this/process" not in {*first.values(), *nobody.values()}
    assert "HF_HUB_OFFLINE" not in first
    assert first["HF_HOME"] != second["HF_HOME"]
    assert "HF_TOKEN" not in nobody
