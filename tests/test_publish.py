"""Publishing a run: one atomic commit or none, nothing that is not meant to leave, and every failure in a line."""

import getpass
import hashlib
import json
import re
import shlex
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import HfApi, ModelCard, constants
from PIL import Image
from safetensors.torch import save_file

from hfssl.catalog import config_of
from hfssl.commands.publish import publish
from hfssl.config.parse import parse
from hfssl.data.images.config import ImageDataConfig
from hfssl.errors import ConfigError
from hfssl.hub import push as hub_module
from hfssl.hub.errors import HubError
from hfssl.hub.publish_config import PublishConfig
from hfssl.hub.push import Published
from hfssl.reporting.card import card_of, render
from hfssl.reporting.command import public_command
from hfssl.run_dir import RunDir
from tests.support.hub_server import DROPPED, OTHER_TOKEN, OWNER_TOKEN, LocalHub
from tests.support.run_folder import begun, evaluation, finished

REPO = "ada/digits"
CANARY = "canary-7f3a9c"


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    return finished(tmp_path / "run")


def published(run_dir: RunDir, **given: Any) -> Published | None:
    config = PublishConfig(run=str(run_dir.path), **({"hub_model_id": "digits"} | given))
    return publish(config)


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
        *("config.json", "model.safetensors", "preprocessor_config.json", "hfssl.json"),
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
    own = {"notes.txt": b"my own", "figures/banner.png": b"mine", "vocab.txt": b"mine", "eval/mine.json": b"{}"}
    at_hub.commit(REPO, own)
    assert published(run_dir) is not None
    assert num_commits(at_hub) == 4
    files = at_hub.repository(REPO).files()
    assert "figures/loss.png" in files
    assert "figures/reconstruction.png" not in files  # of the earlier publication
    assert {name: files[name] for name in own} == own  # of somebody else


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
    with pytest.raises(HubError, match=r"http://127.0.0.1:9 cannot be reached .*run the same command again") as caught:
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
    for part in ("model.safetensors", "kB", "/YOUR_NAME/digits", "pipeline_tag: image-feature-extraction", "7 files"):
        assert part in said
    assert not at_hub.received


def test_of_a_card_alone_no_weights_are_sent(at_hub: LocalHub, run_dir: RunDir) -> None:
    published(run_dir)
    weights = at_hub.repository(REPO).files()["model.safetensors"]
    num_uploads = len(at_hub.requests("lfs_upload"))
    save_file({"a": torch.zeros(2)}, run_dir.export / "model.safetensors")
    published(run_dir, card_only=True, license="mit")
    published(run_dir, card_only=True, license="mit")
    files = at_hub.repository(REPO).files()
    assert "model.safetensors" in json.loads(files["hfssl.json"])["files"]
    assert files["model.safetensors"] == weights
    assert ModelCard(files["README.md"].decode()).data.license == "mit"
    assert len(at_hub.requests("lfs_upload")) == num_uploads


def test_a_run_that_is_not_finished_has_to_be_asked_for(at_hub: LocalHub, tmp_path: Path) -> None:
    run_dir = begun(tmp_path / "begun")
    with pytest.raises(ConfigError, match="is not finished: let it finish, or publish it as it is with --allow_unfin"):
        published(run_dir)
    with pytest.raises(ConfigError, match="has no checkpoint to make an export of"):
        published(run_dir, allow_unfinished=True)
    at_hub.create(REPO)
    with pytest.raises(ConfigError, match="ada/digits holds none: publish the model first"):
        published(run_dir, allow_unfinished=True, card_only=True)
    published(finished(tmp_path / "before"))
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
    assert json.loads(files["eval/evaluate-local-0.json"])["data"] == "a local data set"


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
    published(run_dir)
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
        ({"merge": True, "card_only": True}, "merge has no effect with card_only"),
        ({"base_model": "x"}, "--base_model has no effect: .* started from no checkpoint"),
        ({"revision": "refs/pr/1"}, "revision must be the name of a branch"),
        ({"data_name": "demo:mine"}, "data_name must be up to 100 letters"),
        ({"data_name": "/mnt/clinic"}, "data_name must be up to 100 letters"),
        ({"base_model": "ada/digits"}, "--base_model has no effect"),
        ({"run": "/nowhere"}, "--run /nowhere does not exist"),
    ],
)
def test_what_can_not_work_is_said_at_once(given: dict[str, Any], said: str, at_hub: LocalHub, run_dir: RunDir) -> None:
    with pytest.raises(ConfigError, match=said):
        publish(PublishConfig(**({"run": str(run_dir.path), "hub_model_id": "digits"} | given)))
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
    published(run_dir, data_name="street scenes, 2024")
    files = at_hub.repository(REPO).files()
    text = files["README.md"].decode()
    assert "| data set | street scenes, 2024 |" in text
    assert json.loads(files["eval/summary.json"])["data"] == "street scenes, 2024"
    (dataset,) = {(result.dataset_name, result.dataset_type) for result in ModelCard(text).data.eval_results}
    assert dataset == ("street scenes, 2024", "a-local-data-set")  # no id of the Hub
    assert not [name for name in files if name.startswith("figures/")]  # no picture of it
    assert CANARY.encode() not in at_hub.uploaded()
    with pytest.raises(ConfigError, match="--data_name has no effect: the card names demo:digits"):
        published(finished(tmp_path / "other"), data_name="x")


def test_a_local_evaluation_of_a_run_on_public_data_is_not_called_by_its_folder(
    at_hub: LocalHub, run_dir: RunDir
) -> None:
    run_dir.write_eval(f"evaluate-{CANARY}", evaluation(CANARY, [CANARY], local=True))
    run_dir.write_eval("evaluate-cifar10", evaluation("someone/cifar10", ["cat"], local=False))
    published(run_dir)
    files = at_hub.repository(REPO).files()
    assert {"eval/evaluate-local-0.json", "eval/evaluate-cifar10.json"} <= set(files)
    assert CANARY.encode() not in at_hub.uploaded()


def hidden(run_dir: RunDir, text: str) -> None:
    """`text` in a file of the export."""
    file = run_dir.export / "config.json"
    file.write_text(file.read_text().replace("{", '{"made": ' + text + ",", 1))


@pytest.mark.parametrize(
    "spelling", ["plain", "escaped", "slashes", "resolved", "relative", "user", "host", "other token"]
)
def test_a_secret_is_found_however_it_is_spelt(
    spelling: str, at_hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "kliník-müller" / "bilder"
    data.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(data / "a.png")
    link = tmp_path / "link"
    link.symlink_to(data)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket, "gethostname", lambda: "gpu-17")
    monkeypatch.setattr(getpass, "getuser", lambda: "ada-l")
    given = {"resolved": str(link), "relative": "kliník-müller/bilder"}.get(spelling, str(data))
    run_dir = finished(tmp_path / "run", ["--dataset", given])
    written = {
        "plain": json.dumps(f"{data}/a", ensure_ascii=False),
        "escaped": json.dumps(f"{data}/a"),
        "slashes": json.dumps(str(data)).replace("/", "\\/"),
        "resolved": json.dumps(str(data.resolve())),
        "relative": json.dumps(given),
        "user": json.dumps("/scratch/ada-l/x"),
        "host": json.dumps("gpu-17:8080"),
        "other token": json.dumps("hf_" + "a1B2" * 9),
    }
    hidden(run_dir, written[spelling])
    with pytest.raises(ConfigError, match=r"config.json holds .* nothing was published"):
        published(run_dir)
    assert not at_hub.repositories


def test_words_of_our_own_are_no_secrets(at_hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers keep data at /data, call themselves by any word, and run under numbers without a name."""

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(getpass, "getuser", nobody)
    monkeypatch.setattr(socket, "gethostname", lambda: "training")
    run_dir = finished(tmp_path / "run")
    config = run_dir.read_config()
    config["data"]["dataset"], config["loop"]["init_from"] = "/data", "/checkpoint"
    run_dir.write_config(config | {"local": ["dataset", "init_from"]})
    assert published(run_dir) is not None
    assert "--dataset path/to/data" in at_hub.repository(REPO).files()["README.md"].decode()


def test_data_may_lie_where_the_placeholders_say(
    at_hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("path/to/data").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save("path/to/data/a.png")
    assert published(finished(tmp_path / "run", ["--dataset", "path/to/data"])) is not None


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("no weights", "holds no model: export it again with hfssl export --run"),
        ("short weights", "model.safetensors is damaged"),
        ("an empty figure", "reconstruction.png is no file, or empty"),
        ("a link", "vocab.txt is a link"),
        ("no export", "has no checkpoint to make an export of"),
    ],
)
def test_what_would_be_of_no_use_is_not_published(damage: str, said: str, at_hub: LocalHub, run_dir: RunDir) -> None:
    weights = run_dir.export / "model.safetensors"
    if damage == "no weights":
        weights.unlink()
    elif damage == "short weights":
        weights.write_bytes(weights.read_bytes()[:20])
    elif damage == "an empty figure":
        (run_dir.figures / "reconstruction.png").write_bytes(b"")
    elif damage == "a link":
        (run_dir.export / "vocab.txt").symlink_to("/etc/passwd")
    else:
        shutil.rmtree(run_dir.export)
    with pytest.raises(ConfigError) as caught:
        published(run_dir)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not at_hub.repositories


@pytest.mark.parametrize("name", ["config.yaml", "environment.json", "metrics.jsonl", "eval/summary.json"])
@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe"])
def test_a_damaged_folder_is_named_with_its_file(name: str, content: bytes, at_hub: LocalHub, run_dir: RunDir) -> None:
    file = run_dir.path / name
    file.write_bytes(content + (b"\n" + file.read_bytes() if name.endswith(".jsonl") else b""))
    with pytest.raises(ConfigError, match=rf"{re.escape(str(file))} cannot be read"):
        published(run_dir)


def test_a_license_stays_unless_another_is_named(at_hub: LocalHub, run_dir: RunDir) -> None:
    published(run_dir, license="other", license_name="mine", license_link="LICENSE", language=("en",))
    Image.new("RGB", (5, 5)).save(run_dir.figures / "loss.png")
    published(run_dir)
    card = ModelCard(at_hub.repository(REPO).files()["README.md"].decode())
    assert (card.data.license, card.data.license_name, card.data.language) == ("other", "mine", ["en"])
    published(run_dir, license="mit")
    card = ModelCard(at_hub.repository(REPO).files()["README.md"].decode())
    assert (card.data.license, card.data.get("license_name")) == ("mit", None)


@pytest.mark.parametrize("what", ["public", "foreign"])
def test_a_repository_that_appears_meanwhile_is_looked_at_too(at_hub: LocalHub, run_dir: RunDir, what: str) -> None:
    def appear() -> None:
        at_hub.create(REPO)
        if what == "foreign":
            at_hub.commit(REPO, {"weights.bin": b"1"})

    at_hub.before("create", appear)
    with pytest.raises(HubError, match="is there and public" if what == "public" else "holds something else"):
        published(run_dir, private=what == "public")
    assert "model.safetensors" not in at_hub.repository(REPO).files()


def test_a_branch_starts_where_main_was_looked_at(at_hub: LocalHub, run_dir: RunDir) -> None:
    published(run_dir)
    looked_at = at_hub.repository(REPO).log()[0].oid
    at_hub.before("branch", lambda: at_hub.commit(REPO, {"config.json": b"{}"}, author="grace"))
    Image.new("RGB", (5, 5)).save(run_dir.figures / "loss.png")
    published(run_dir, revision="second")
    assert at_hub.repository(REPO).log("second")[1].oid == looked_at


def test_an_upload_that_failed_before_a_pull_request_is_tried_again(at_hub: LocalHub, run_dir: RunDir) -> None:
    at_hub.create(REPO)
    at_hub.fail("preupload", 503)
    done = published(run_dir, create_pr=True)
    assert done is not None
    assert len(at_hub.requests("commit")) == 1


def test_a_lost_commit_without_our_deletions_is_not_taken_for_ours(
    at_hub: LocalHub, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(run_dir)
    (run_dir.figures / "reconstruction.png").unlink()
    Image.new("RGB", (5, 5)).save(run_dir.figures / "loss.png")
    send = hub_module._send

    def after_another(api: Any, target: Any, files: Any, *rest: Any) -> Any:
        same = {
            file.name: file.content if isinstance(file.content, bytes) else file.content.read_bytes() for file in files
        }
        at_hub.commit(REPO, same, author="grace")
        return send(api, target, files, *rest)

    monkeypatch.setattr(hub_module, "_send", after_another)
    at_hub.fail("commit", 503)
    with pytest.raises(HubError, match="somebody else has changed"):
        published(run_dir)


def test_a_new_repository_that_stays_empty_is_told(at_hub: LocalHub, run_dir: RunDir) -> None:
    at_hub.fail("commit", 403)
    with pytest.raises(HubError, match=r"the new, empty repository .*/ada/digits is there"):
        published(run_dir)


@pytest.mark.parametrize("name", ["dino", "swav"])
def test_the_command_of_a_run_without_local_crops_is_one_that_starts(name: str) -> None:
    run = parse(config_of(name), ImageDataConfig, ["--config", "demo", "--num_local_crops", "0"])
    words = shlex.split(public_command(run.stored(), {}))
    assert parse(config_of(name), ImageDataConfig, words[2:]).digest() == run.digest()


def test_the_card_of_a_checkpoint_speaks_of_its_step(tmp_path: Path) -> None:
    card = card_of(begun(tmp_path, steps=(10, 20, 30)), None, 20)
    assert (card.steps, card.samples_seen, card.state) == (20, 20 * 128, "not finished, at step 20 of 40")


@pytest.mark.parametrize(
    ("recipe", "column", "expected"),
    [("mlm", "text_column", "A masked language model"), ("wav2vec2", "audio_column", "A speech encoder")],
)
def test_a_run_without_an_export_is_of_its_modality(recipe: str, column: str, expected: str, tmp_path: Path) -> None:
    run_dir = begun(tmp_path)
    config = run_dir.read_config()
    method = config_of(recipe).tiny()
    config |= {"recipe": recipe, "kind": method.kind, "modality": method.modality, "rows_are": "rows"}
    config["data"] |= {column: None, "max_length": 64, "batch_seconds": 8.0}
    run_dir.write_config(config)
    text = render(card_of(run_dir))
    assert f"{expected}, pretrained" in text
    assert "image" not in text.split("## Data")[0]
