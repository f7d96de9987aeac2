"""Publishing a run: one atomic commit or none, nothing that is not meant to leave, and every failure in a line."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import HfApi, ModelCard, constants
from PIL import Image
from safetensors.torch import save_file

from hfssl.config import ConfigError
from hfssl.publish import publish
from hfssl.publish_config import PublishConfig
from hfssl.publishing.hub import Published
from hfssl.publishing.hub_errors import HubError
from hfssl.run_dir import RunDir
from tests.hub_server import DROPPED, OTHER_TOKEN, OWNER_TOKEN, LocalHub
from tests.run_folder import begun, evaluation, finished

REPO = "ada/digits"
CANARY = "canary-7f3a9c"


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    return finished(tmp_path / "run")


def published(run_dir: RunDir, **given: Any) -> Published | None:
    wanted = PublishConfig(run=str(run_dir.path), **({"hub_model_id": "digits"} | given))
    return publish(wanted, from_command_line=False)


def content(folder: Path) -> dict[str, str]:
    """Every file of a folder and what is in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def num_commits(hub: LocalHub, repo_id: str = REPO) -> int:
    return len(hub.repository(repo_id).log())


def test_a_run_is_one_commit_of_its_card_figures_scores_and_model(at_hub: LocalHub, run_dir: RunDir) -> None:
    before = content(run_dir.path)
    done = published(run_dir, license="apache-2.0", language=("en", "de"))
    assert done is not None
    assert done.changed
    repository = at_hub.repository(REPO)
    files = repository.files()
    assert set(files) - {".gitattributes"} == {
        *("README.md", "figures/reconstruction.png", "eval/summary.json"),
        *("config.json", "model.safetensors", "preprocessor_config.json"),
    }
    assert files["model.safetensors"] == (run_dir.export / "model.safetensors").read_bytes()
    assert files["config.json"] == (run_dir.export / "config.json").read_bytes()
    assert num_commits(at_hub) == 2  # that of the new repository, and ours
    assert len(at_hub.requests("commit")) == 1
    card = ModelCard(files["README.md"].decode())
    assert (card.data.license, card.data.language, card.data.model_name) == ("apache-2.0", ["en", "de"], "digits")
    assert f'from_pretrained("{REPO}"' in card.text
    assert content(run_dir.path) == before


def test_a_second_push_of_the_same_makes_no_commit_and_a_changed_one_makes_one(
    at_hub: LocalHub, run_dir: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    published(run_dir)
    again = published(run_dir)
    assert again is not None
    assert not again.changed
    assert num_commits(at_hub) == 2
    assert "unchanged" in capsys.readouterr().out
    (run_dir.figures / "reconstruction.png").unlink()
    Image.new("RGB", (5, 5)).save(run_dir.figures / "loss.png")
    at_hub.commit(REPO, {"notes.txt": b"my own"})
    assert published(run_dir) is not None
    assert num_commits(at_hub) == 4
    files = at_hub.repository(REPO).files()
    assert "figures/loss.png" in files
    assert "figures/reconstruction.png" not in files  # of the earlier publication
    assert files["notes.txt"] == b"my own"  # of somebody else


def test_a_pull_request_leaves_main_as_it_is(at_hub: LocalHub, run_dir: RunDir) -> None:
    at_hub.create(REPO)
    main = at_hub.repository(REPO).files()
    done = published(run_dir, create_pr=True)
    assert done is not None
    assert "discussions/1" in done.url
    assert at_hub.repository(REPO).files() == main
    assert "model.safetensors" in at_hub.repository(REPO).files("refs/pr/1")


def test_a_branch_is_made_and_main_stays(at_hub: LocalHub, run_dir: RunDir) -> None:
    at_hub.create(REPO)
    main = at_hub.repository(REPO).files()
    published(run_dir, revision="second/try")
    assert at_hub.repository(REPO).files() == main
    assert "model.safetensors" in at_hub.repository(REPO).files("second/try")
    again = published(run_dir, revision="second/try")
    assert again is not None
    assert not again.changed


def test_private_is_private_and_what_is_public_does_not_become_it_in_silence(at_hub: LocalHub, run_dir: RunDir) -> None:
    published(run_dir, private=True)
    assert at_hub.repository(REPO).private
    published(run_dir, private=True)
    with pytest.raises(Exception, match=r"404|401"):
        HfApi(token=False).model_info(REPO)
    at_hub.create("ada/seen")
    with pytest.raises(HubError, match="ada/seen is there and public: make it private in its settings first"):
        published(run_dir, hub_model_id="seen", private=True)
    assert num_commits(at_hub, "ada/seen") == 1


def test_who_was_faster_is_not_overwritten(at_hub: LocalHub, run_dir: RunDir) -> None:
    published(run_dir)
    Image.new("RGB", (5, 5)).save(run_dir.figures / "loss.png")
    at_hub.before("commit", lambda: at_hub.commit(REPO, {"README.md": b"another"}, author="grace"))
    with pytest.raises(HubError, match=r"somebody else has changed ada/digits.*nothing was overwritten"):
        published(run_dir)
    assert at_hub.repository(REPO).files()["README.md"] == b"another"


@pytest.mark.parametrize("status", [500, 503, 429, DROPPED])
def test_a_commit_that_the_server_failed_to_make_is_sent_again(at_hub: LocalHub, run_dir: RunDir, status: int) -> None:
    at_hub.fail("commit", status)
    done = published(run_dir)
    assert done is not None
    assert num_commits(at_hub) == 2
    assert len(at_hub.requests("commit")) == 2


@pytest.mark.parametrize("status", [503, DROPPED])
def test_a_commit_whose_answer_was_lost_is_found_and_not_made_twice(
    at_hub: LocalHub, run_dir: RunDir, status: int
) -> None:
    at_hub.fail("commit", status, applied=True)
    done = published(run_dir)
    assert done is not None
    assert done.changed
    assert at_hub.repository(REPO).log()[0].oid in done.url
    assert num_commits(at_hub) == 2
    assert len(at_hub.requests("commit")) == 1


def test_a_lost_answer_beside_another_author_is_not_taken_for_ours(at_hub: LocalHub, run_dir: RunDir) -> None:
    published(run_dir)
    Image.new("RGB", (5, 5)).save(run_dir.figures / "loss.png")
    at_hub.before("commit", lambda: at_hub.commit(REPO, {"config.json": b"{}"}, author="grace"))
    at_hub.fail("commit", 503)
    with pytest.raises(HubError, match="somebody else has changed"):
        published(run_dir)
    assert at_hub.repository(REPO).files()["config.json"] == b"{}"


def test_a_pull_request_whose_answer_was_lost_is_not_opened_twice(at_hub: LocalHub, run_dir: RunDir) -> None:
    at_hub.create(REPO)
    at_hub.fail("commit", 503, applied=True)
    with pytest.raises(HubError, match=r"the pull request was sent and the answer was lost.*discussions"):
        published(run_dir, create_pr=True)
    assert len(at_hub.requests("commit")) == 1


def test_a_server_that_fails_for_good_leaves_the_repository_as_it_was(at_hub: LocalHub, run_dir: RunDir) -> None:
    published(run_dir)
    files, before = at_hub.repository(REPO).files(), content(run_dir.path)
    Image.new("RGB", (5, 5)).save(run_dir.figures / "loss.png")
    at_hub.fail("commit", 503, times=10)
    with pytest.raises(HubError, match="fails with status 503 again and again: the repository is as it was"):
        published(run_dir)
    assert at_hub.repository(REPO).files() == files
    assert {**content(run_dir.path), "figures/loss.png": ""} == {**before, "figures/loss.png": ""}


def test_an_upload_that_fails_in_the_middle_commits_nothing(at_hub: LocalHub, run_dir: RunDir) -> None:
    at_hub.create(REPO)
    files = at_hub.repository(REPO).files()
    at_hub.fail("lfs_upload", 403)
    with pytest.raises(HubError, match="the repository is as it was"):
        published(run_dir)
    assert at_hub.repository(REPO).files() == files
    assert not at_hub.requests("commit")
    assert published(run_dir) is not None


@pytest.mark.parametrize("token", ["", "not-a-token", OTHER_TOKEN])
def test_whoever_may_not_write_learns_why_before_anything_is_sent(
    at_hub: LocalHub, run_dir: RunDir, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    said = {
        "": "there is no access token: log in with `hf auth login`, or set HF_TOKEN",
        "not-a-token": "does not know this access token: log in again",
        OTHER_TOKEN: "ada/digits is not yours: the access token is that of grace",
    }
    with pytest.raises(HubError, match=re.escape(said[token])) as caught:
        published(run_dir, hub_model_id=REPO)
    assert not at_hub.repositories
    assert token == "" or token not in str(caught.value)


def test_a_token_that_only_reads_is_named(at_hub: LocalHub, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    at_hub.create(REPO)
    at_hub.tokens["reader"] = "ada"
    at_hub.read_only_tokens.add("reader")
    monkeypatch.setenv("HF_TOKEN", "reader")
    with pytest.raises(HubError, match="this access token may not write to ada/digits"):
        published(run_dir)
    assert num_commits(at_hub) == 1


def test_an_organisation_of_the_user_is_a_place_to_publish(at_hub: LocalHub, run_dir: RunDir) -> None:
    at_hub.organisations["ada"] = {"looms"}
    assert published(run_dir, hub_model_id="looms/digits") is not None
    assert "model.safetensors" in at_hub.repository("looms/digits").files()


def test_without_a_network_there_is_a_line_and_the_run_stays(
    at_hub: LocalHub, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(run_dir.path)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match=r"http://127.0.0.1:9 can not be reached .*run the same command again") as caught:
        published(run_dir)
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE is set: unset it to publish"):
        published(run_dir)
    assert content(run_dir.path) == before


@pytest.mark.parametrize("there", ["a file", "a card", "another recipe"])
def test_a_repository_of_something_else_is_left_alone(at_hub: LocalHub, run_dir: RunDir, there: str) -> None:
    at_hub.create(REPO)
    card = b"---\ntags: [hfssl, simclr]\n---\n" if there == "another recipe" else b"---\nlicense: mit\n---\n"
    at_hub.commit(REPO, {"weights.bin": b"1"} if there == "a file" else {"README.md": card})
    files = at_hub.repository(REPO).files()
    with pytest.raises(HubError, match=r"ada/digits holds something else than a run of mae .*name another repository"):
        published(run_dir)
    assert at_hub.repository(REPO).files() == files


def test_a_dry_run_shows_everything_and_asks_nobody(
    at_hub: LocalHub, run_dir: RunDir, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.delenv("HF_TOKEN")
    assert published(run_dir, dry_run=True) is None
    said = capsys.readouterr().out
    for part in ("model.safetensors", "kB", "/YOUR_NAME/digits", "pipeline_tag: image-feature-extraction", "6 files"):
        assert part in said
    assert not at_hub.received


def test_of_a_card_alone_no_weights_are_sent(at_hub: LocalHub, run_dir: RunDir) -> None:
    published(run_dir)
    weights = at_hub.repository(REPO).files()["model.safetensors"]
    num_uploads = len(at_hub.requests("lfs_upload"))
    save_file({"a": torch.zeros(2)}, run_dir.export / "model.safetensors")
    published(run_dir, card_only=True, license="mit")
    files = at_hub.repository(REPO).files()
    assert files["model.safetensors"] == weights
    assert ModelCard(files["README.md"].decode()).data.license == "mit"
    assert len(at_hub.requests("lfs_upload")) == num_uploads


def test_a_run_that_is_not_finished_has_to_be_asked_for(at_hub: LocalHub, tmp_path: Path) -> None:
    run_dir = begun(tmp_path / "begun")
    with pytest.raises(ConfigError, match="is not finished: let it finish, or publish it as it is with --allow_unfin"):
        published(run_dir)
    published(run_dir, allow_unfinished=True, card_only=True)
    text = at_hub.repository(REPO).files()["README.md"].decode()
    assert "State of the run: not finished, at step 20 of 40." in text
    assert "Scores: not measured." in text


def test_nothing_of_this_machine_leaves_it(
    at_hub: LocalHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, start = tmp_path / f"{CANARY}-data", tmp_path / f"{CANARY}-start"
    for folder in (data, start):
        folder.mkdir()
    Image.new("RGB", (8, 8)).save(data / "a.png")
    run_dir = finished(tmp_path / f"{CANARY}-run", ["--dataset", str(data), "--init_from", str(start)])
    of_others = evaluation(f"{CANARY}-data", [f"{CANARY}-class"], local=True) | {
        "command": f"x {CANARY}",
        "model": CANARY,
    }
    run_dir.write_eval(f"evaluate-{CANARY}", of_others)
    table = run_dir.read_summary()
    assert table is not None
    table["scores"] = {"mistakes": [{"text": f"{CANARY} said"}]}
    run_dir.write_summary(table)
    Image.new("RGB", (8, 8)).save(run_dir.figures / f"neighbours-{CANARY}.png")
    (run_dir.export / f"{CANARY}.txt").write_text("not on the list")
    published(run_dir)
    sent = at_hub.uploaded()
    assert b"knn" in sent
    for secret in (CANARY, OWNER_TOKEN, str(tmp_path)):
        assert secret.encode() not in sent
    assert OWNER_TOKEN not in capsys.readouterr().out
    files = at_hub.repository(REPO).files()
    assert json.loads(files["eval/further-0.json"])["data"] == "a local data set"


@pytest.mark.parametrize("place", ["config.json", "tokenizer_config.json", "figure", "weights"])
def test_a_file_with_a_path_or_a_token_in_it_stops_the_push(at_hub: LocalHub, run_dir: RunDir, place: str) -> None:
    secret = OWNER_TOKEN if place == "figure" else str(run_dir.path.absolute())
    if place == "figure":
        (run_dir.figures / "reconstruction.png").write_bytes(b"\x89PNG" + secret.encode())
    elif place == "weights":
        save_file({"a": torch.zeros(2)}, run_dir.export / "model.safetensors", metadata={"made_in": secret})
    else:
        (run_dir.export / place).write_text(
            json.dumps({"name": f"{secret}/base", "architectures": ["ViTModel"]} | KIND)
        )
    with pytest.raises(ConfigError, match="nothing was published") as caught:
        published(run_dir)
    assert OWNER_TOKEN not in str(caught.value)
    assert not at_hub.repositories


KIND = {"model_type": "vit"}


def test_a_number_that_changes_in_the_folder_changes_alone_in_the_card(at_hub: LocalHub, run_dir: RunDir) -> None:
    published(run_dir, card_only=True)
    before = at_hub.repository(REPO).files()
    table = run_dir.read_summary()
    assert table is not None
    table["rows"][-1]["few_labels"] = 0.6543
    run_dir.write_summary(table)
    published(run_dir, card_only=True)
    after = at_hub.repository(REPO).files()
    lines = zip(*(files["README.md"].decode().split("\n") for files in (before, after)), strict=True)
    changed = [pair for pair in lines if pair[0] != pair[1]]
    assert len(changed) == 2  # the table, and the same number for the Hub
    assert re.sub(r"0\.\d+", "x", changed[0][0]) == re.sub(r"0\.\d+", "x", changed[0][1])
    assert "0.6543" in changed[0][1]
    assert "0.654 (" in changed[1][1]
    del table["rows"][-1]["few_labels"]
    run_dir.write_summary(table)
    published(run_dir, card_only=True)
    text = at_hub.repository(REPO).files()["README.md"].decode()
    assert re.search(r"\| pretrained \| 16 \|.*not measured", text)
    assert "0.654" not in text


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"hub_model_id": None}, "name the repository with --hub_model_id"),
        ({"hub_model_id": "a/b/c"}, "hub_model_id must be NAME or USER/NAME"),
        ({"hub_model_id": "a--b"}, "hub_model_id must be NAME or USER/NAME"),
        ({"hub_model_id": "../up"}, "hub_model_id must be NAME or USER/NAME"),
        ({"license": "apache"}, "license 'apache' is not known to the Hub: name one like apache-2.0"),
        ({"license": "other"}, "license other needs --license_name and --license_link"),
        ({"license_name": "mine"}, "have no effect without --license other"),
        ({"license": "other", "license_name": "mine", "license_link": "x y"}, "license_link must be an address"),
        ({"language": ("English",)}, "language must be ISO 639 codes"),
        ({"create_pr": True, "revision": "b"}, "create_pr and revision exclude each other"),
        ({"revision": "a b"}, "revision must be the name of a branch"),
        ({"merge": True, "card_only": True}, "merge has no effect beside card_only"),
        ({"base_model": "x"}, "--base_model has no effect: .* started from no checkpoint"),
        ({"run": "/nowhere"}, "--run /nowhere is not a run folder"),
    ],
)
def test_what_can_not_work_is_said_at_once(given: dict[str, Any], said: str, at_hub: LocalHub, run_dir: RunDir) -> None:
    with pytest.raises(ConfigError, match=said):
        publish(
            PublishConfig(**({"run": str(run_dir.path), "hub_model_id": "digits"} | given)), from_command_line=False
        )
    assert not at_hub.repositories


def test_a_license_of_ones_own_is_in_the_head(at_hub: LocalHub, run_dir: RunDir) -> None:
    published(run_dir, license="other", license_name="mine", license_link="https://example.org/mine")
    head = yaml.safe_load(at_hub.repository(REPO).files()["README.md"].decode().split("---\n")[1])
    assert (head["license"], head["license_name"], head["license_link"]) == (
        "other",
        "mine",
        "https://example.org/mine",
    )


def test_local_data_can_be_given_a_name_and_stays_local(at_hub: LocalHub, tmp_path: Path) -> None:
    data = tmp_path / CANARY
    data.mkdir()
    Image.new("RGB", (8, 8)).save(data / "a.png")
    run_dir = finished(tmp_path / "run", ["--dataset", str(data)])
    run_dir.write_eval(f"evaluate-{CANARY}", evaluation(CANARY, [CANARY], local=True))
    published(run_dir, data_name="street *scenes*")
    files = at_hub.repository(REPO).files()
    text = files["README.md"].decode()
    assert "| data set | street &#42;scenes&#42; |" in text
    assert json.loads(files["eval/summary.json"])["data"] == "street *scenes*"
    assert not [name for name in files if name.startswith("figures/")]  # no picture of it
    assert CANARY.encode() not in at_hub.uploaded()
    with pytest.raises(ConfigError, match="--data_name has no effect: the card names demo:digits"):
        published(finished(tmp_path / "other"), data_name="x")
