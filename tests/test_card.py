"""The card: what may be published, what a stranger can run, and what the Hub can read."""

import getpass
import inspect
import itertools
import re
import shlex
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from PIL import Image

from hfssl.catalog import config_of, method, method_names, paper_of
from hfssl.checkpoints.exports import Exported
from hfssl.config.parse import parse
from hfssl.config.run_config import RunConfig
from hfssl.data.images.config import ImageDataConfig
from hfssl.methods.mae.config import MAEConfig
from hfssl.reporting.card import LOCAL_DATA, card_of, write_card
from hfssl.reporting.command import public_command
from hfssl.reporting.markdown import code_block
from hfssl.reporting.usage import usage
from hfssl.run_dir import RunDir
from hfssl.runs.init_from import adopt_checkpoint
from tests.support.pictured_folder import finished_study
from tests.support.run_folder import begun, environment, evaluation, export, finished

HOSTILE = (
    "x\n---\nlicense: mit\n---\n# Big ![i](http://a.b/c) <script>alert(1)</script> `a` |b| [l](http://d.e) *s* www.f.g"
)


def written(run_dir: RunDir) -> str:
    return write_card(run_dir).read_text(encoding="utf-8")


def head(run_dir: RunDir) -> dict[str, Any]:
    """The card's YAML as the Hub's own client reads it."""
    return ModelCard.load(write_card(run_dir)).data.to_dict()


def store(run_dir: RunDir, section: str, name: str, value: Any) -> None:
    """A setting as a run could have stored it."""
    config = run_dir.read_config()
    config[section][name] = value
    run_dir.write_config(config)


def of_hub(path: Path, name: str = "someone/textures") -> RunDir:
    return finished(path, ["--dataset", name])


def test_the_hub_reads_the_head_and_finds_the_scores_in_it(tmp_path: Path) -> None:
    card = ModelCard.load(write_card(finished(tmp_path)))
    assert card.data.pipeline_tag == "image-feature-extraction"
    assert card.data.library_name == "transformers"
    assert {"self-supervised-learning", "mae"} <= set(card.data.tags)
    assert card.data.license is None
    assert card.data.datasets is None  # a demo set has no page there
    scores = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert scores == {"accuracy, kNN": 0.8, "accuracy, linear probe": 0.85, "accuracy, 100 labels": 0.7}
    assert {result.dataset_name for result in card.data.eval_results} == {"demo:digits"}


def test_data_and_base_model_are_named_where_they_are_on_the_hub(tmp_path: Path) -> None:
    run_dir = of_hub(tmp_path)
    store(run_dir, "loop", "init_from", "someone/vit")
    assert head(run_dir)["datasets"] == ["someone/textures"]
    assert head(run_dir)["base_model"] == "someone/vit"
    config = run_dir.read_config()
    del config["local"]  # a run that did not record what was local: nothing is named
    run_dir.write_config(config)
    assert "someone" not in written(run_dir)


def test_a_run_records_what_was_local(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    local = parse(MAEConfig, ImageDataConfig, ["--dataset", str(tmp_path), "--init_from", str(tmp_path)])
    assert local.stored()["local"] == ["dataset", "init_from"]
    assert parse(MAEConfig, ImageDataConfig, ["--dataset", "someone/textures"]).stored()["local"] == []


@pytest.mark.parametrize("pooling", ["cls", "mean", "mean_patches"])
@pytest.mark.parametrize("num_channels", [1, 3, 5])
def test_the_snippet_runs_as_it_stands_beside_the_export(
    num_channels: int, pooling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = begun(tmp_path)
    export(run_dir.export, num_channels, pooling)
    (snippet,) = re.findall(r"```python\n(.*?)```", written(run_dir), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(snippet, names)
    assert capsys.readouterr().out == "torch.Size([1, 16])\n"
    hidden = names["hidden"]
    expected = {"cls": hidden[:, 0], "mean": hidden.mean(dim=1), "mean_patches": hidden[:, 1:].mean(dim=1)}
    assert torch.equal(names["features"], expected[pooling])


def test_the_snippet_leaves_out_the_registers() -> None:
    exported = Exported("Dinov2WithRegistersModel", "dinov2_with_registers", "mean_patches", 3, 1, num_registers=4)
    assert "features = hidden[:, 5:].mean(dim=1)  # all tokens but the class token and the registers" in usage(
        exported, "x"
    )


def again(command: str, *more: str) -> RunConfig:
    """The run that a card's command starts."""
    words = shlex.split(command)
    assert words[:2] == ["hfssl", "mae"]
    return parse(MAEConfig, ImageDataConfig, [*words[2:], *more])


def test_a_run_of_a_budget_is_told_as_one_of_steps(tmp_path: Path) -> None:
    run_dir = finished(tmp_path)
    config = run_dir.read_config()
    config["loop"] |= {"budget_hours": 0.5}
    run_dir.write_config(config)
    command = card_of(run_dir).command
    assert "budget" not in command
    assert again(command).loop.max_steps == config["loop"]["max_steps"]


def test_the_command_makes_the_same_run(tmp_path: Path) -> None:
    flags = ["--mask_ratio", "0.5", "--crop_scale", "0.3", "0.9", "--norm_pix_loss", "true", "--seed", "3"]
    run_dir = begun(tmp_path / "run", [*flags, "--max_grad_norm", "1.5", "--num_workers", "1"])
    card = card_of(run_dir)
    assert again(card.command).digest() == run_dir.read_config()["digest"]
    assert "num_workers" not in card.command  # changes no number
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        yaml.safe_dump({"method": {"patch_size": 8}, "loop": {"num_epochs": 2}, "data": {"image_size": 32}})
    )
    run = parse(MAEConfig, ImageDataConfig, ["--config", str(mine), "--dataset", str(tmp_path)])
    command = public_command(run.stored(), {})
    assert again(command.replace("path/to/data", str(tmp_path))).digest() == run.digest()


def test_the_command_says_how_many_processes_and_what_precision(tmp_path: Path) -> None:
    config = begun(tmp_path).read_config()
    command = public_command(config, environment("") | {"num_processes": 2, "mixed_precision": "bf16"})
    assert command.startswith("accelerate launch --num_processes 2 --mixed_precision bf16 -m hfssl mae --config demo")


def test_the_command_leaves_to_a_checkpoint_what_the_checkpoint_decides(tmp_path: Path) -> None:
    config = begun(tmp_path, ["--mask_ratio", "0.5"]).read_config()
    config["loop"]["init_from"] = "someone/vit"
    config["model_config"] = {"patch_size": [2, 2], "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
    config["method"] |= {"patch_size": 2, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
    run = again(public_command(config, {}))  # a flag that the checkpoint overrules would be refused here
    assert (run.loop.init_from, run.method.mask_ratio) == ("someone/vit", 0.5)


def test_no_local_path_host_or_user_name_is_in_a_card(tmp_path: Path) -> None:
    data, folder = tmp_path / "canary-data", tmp_path / "canary-run"
    checkpoint = tmp_path / "canary-checkpoint"
    data.mkdir()
    checkpoint.mkdir()
    Image.new("RGB", (8, 8)).save(data / "a.png")
    mine = tmp_path / "canary-settings.yaml"
    mine.write_text("loop: {max_steps: 40}\n")
    run_dir = finished(folder, ["--config", str(mine), "--dataset", str(data), "--init_from", str(checkpoint)])
    run_dir.write_eval("evaluate-canary-data", evaluation("canary-data", ["canary-class"], local=True))
    Image.new("RGB", (8, 8)).save(folder / "eval" / "evaluate-canary-data.png")
    text = written(run_dir)
    assert "canary" in (folder / "config.yaml").read_text()
    for secret in ("canary", str(tmp_path), str(Path.home()), socket.gethostname(), f"/{getpass.getuser()}"):
        assert secret not in text
    assert LOCAL_DATA in text
    assert "a local checkpoint" in text
    assert "--dataset path/to/data" in text
    assert ModelCard.load(run_dir.card_file).data.datasets is None


@pytest.mark.parametrize("place", ["data set", "class", "split", "warning", "column"])
def test_what_users_wrote_is_text_and_no_markup(place: str, tmp_path: Path) -> None:
    run_dir = finished(tmp_path)
    table = run_dir.read_summary()
    assert table is not None
    if place == "data set":
        store(run_dir, "data", "dataset", f"demo:{HOSTILE}")
    elif place == "class":
        run_dir.write_eval("evaluate-x", evaluation(HOSTILE, [HOSTILE], local=False))
    elif place == "split":
        table["test_split"] = HOSTILE
        store(run_dir, "data", "split", HOSTILE.replace("/", ""))
    elif place == "warning":
        table["rows"][-1]["warnings"] = [HOSTILE]
    else:
        store(run_dir, "data", "image_column", "a\n```\n# Big\n```\n\u202eb")
    run_dir.write_summary(table)
    text = written(run_dir)
    card = ModelCard(text)
    assert card.data.license is None
    assert card.data.model_name.startswith("mae-")
    parser = MarkdownIt("gfm-like", {"linkify": False})
    tokens = [inner for token in parser.parse(card.text) for inner in (token, *(token.children or []))]
    assert not [token for token in tokens if token.type.startswith("html")]
    addresses = [str(token.attrs["href"]) for token in tokens if token.type == "link_open"]
    assert addresses == [f"https://arxiv.org/abs/{paper_of('mae').arxiv}"]
    assert all(str(token.attrs["src"]).startswith("figures/") for token in tokens if token.type == "image")
    headings = [after.content for token, after in itertools.pairwise(tokens) if token.type == "heading_open"]
    assert not [heading for heading in headings if heading.startswith("Big")]
    prose = re.sub(r"(`{3,}).*?\n\1", "", text, flags=re.DOTALL).replace("https://arxiv.org", "").split("\n---\n")[-1]
    assert not re.search(r"https?://|www\.", prose)  # GitHub and the Hub make links of bare addresses
    assert "\u202e" not in text


def test_a_block_of_code_can_not_be_ended_from_inside() -> None:
    text = "a\n```\n# Big\n````\nb"
    (token,) = MarkdownIt().parse(code_block(text, "bash"))
    assert (token.type, token.content) == ("fence", f"{text}\n")


def test_what_was_not_measured_says_so(tmp_path: Path) -> None:
    text = written(begun(tmp_path, steps=(), held_out=False))
    for line in (
        "Scores: not measured.",
        "| energy | not measured |",
        "| rows | not measured |",
        "There is no export yet.",
    ):
        assert line in text
    assert "model-index" not in head(begun(tmp_path / "other"))
    spent = "| energy | about 0.00011 kWh, estimated: 2 CPU threads at 10 W each, a rule of thumb |"  # 20 s at 20 W
    assert spent in written(finished(tmp_path / "measured"))
    assert "Scores: not measured." not in written(finished(tmp_path / "done"))
    assert "| pretrained | 16 | not measured |" in written(finished(tmp_path / "bare", labels=False))


def test_figures_are_linked_where_they_lie(tmp_path: Path) -> None:
    run_dir = finished(tmp_path)
    links = re.findall(r"!\[.*?\]\((.*?)\)", written(run_dir))
    assert links == ["figures/reconstruction.png"]
    assert all((run_dir.path / link).is_file() for link in links)


@pytest.mark.parametrize("recipe", method_names())
def test_every_method_names_its_paper_in_its_docstring_too(recipe: str) -> None:
    paper = paper_of(recipe)
    assert paper is not None
    assert paper.differences
    assert paper.arxiv in str(inspect.getmodule(method(recipe)[1]).__doc__)


@pytest.mark.parametrize("model", ["resnet18", "convnext_32px"])
def test_the_command_of_a_run_with_a_model_config_can_be_given_back(model: str) -> None:
    config = config_of("simclr")
    argv = ["--dataset", "someone/something", "--model_config", model, "--image_size", "64"]
    run, _ = adopt_checkpoint(parse(config, ImageDataConfig, argv))
    command = public_command(run.stored(), {})
    again, _ = adopt_checkpoint(parse(config, ImageDataConfig, shlex.split(command)[2:]))
    assert (again.method, again.data, again.architecture) == (run.method, run.data, run.architecture)


def test_a_study_of_labels_is_no_evaluation_of_the_run(tmp_path: Path) -> None:
    assert card_of(finished_study(tmp_path)).evaluations == []
