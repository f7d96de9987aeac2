"""A run folder of another version: one line from every command that opens one, and no hindrance to new runs."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from hfssl.commands.embed import embed
from hfssl.commands.embed_config import EmbedConfig
from hfssl.commands.evaluate import evaluate
from hfssl.commands.export import export_checkpoint
from hfssl.commands.export_config import ExportConfig
from hfssl.commands.finetune import finetune
from hfssl.commands.predict import predict
from hfssl.commands.pretrain import pretrain
from hfssl.commands.publish import publish
from hfssl.commands.report import report
from hfssl.commands.report_config import ReportConfig
from hfssl.config.parse import parse
from hfssl.config.run_config import RunConfig
from hfssl.data.images.config import ImageDataConfig
from hfssl.errors import ConfigError
from hfssl.evaluation.evaluate_config import EvaluateConfig
from hfssl.hub.publish_config import PublishConfig
from hfssl.methods.mae.config import MAEConfig
from hfssl.methods.mae.objective import MAE
from hfssl.predicting.predict_config import PredictConfig
from hfssl.run_dir import LAYOUT, RunDir
from hfssl.tasks.image_classification.config import ImageClassificationConfig
from hfssl.tasks.image_classification.objective import ImageClassification
from hfssl.training.start import choose
from tests.support.run_folder import begun, finished

EARLIER = "was made by an earlier version of hfssl and cannot be opened: start a new run"


def with_layout(run_dir: RunDir, layout: object) -> RunDir:
    """The same run as another version would have stored it; None: as those that recorded no layout."""
    config = run_dir.read_config()
    del config["layout"]
    run_dir.write_config(config if layout is None else {"layout": layout} | config)
    return run_dir


def pretraining(*argv: str) -> RunConfig:
    return parse(MAEConfig, ImageDataConfig, ["--config", "demo", "--max_steps", "40", *argv])


def finetuning(*argv: str) -> RunConfig:
    flags = ["--config", "frozen", "--dataset", "demo:digits", "--max_steps", "1"]
    return parse(ImageClassificationConfig, ImageDataConfig, [*flags, *argv])


def in_folder(run: RunConfig, folder: str) -> RunConfig:
    return dataclasses.replace(run, loop=dataclasses.replace(run.loop, output_dir=folder))


COMMANDS: dict[str, Callable[[str], object]] = {
    "report": lambda run: report(ReportConfig(run=run)),
    "export": lambda run: export_checkpoint(ExportConfig(run=run)),
    "publish": lambda run: publish(PublishConfig(run=run, hub_model_id="me/x")),
    "evaluate": lambda run: evaluate(EvaluateConfig(model=run, dataset="demo:digits")),
    "embed": lambda run: embed(EmbedConfig(model=run, dataset="demo:digits")),
    "predict": lambda run: predict(PredictConfig(model=run, input=run)),
    "predict by its export": lambda run: predict(PredictConfig(model=f"{run}/export", input=run)),
    "resume": lambda run: pretraining("--output_dir", run),
    "resume from Python": lambda run: choose(in_folder(pretraining(), run)),
    "pretraining from it": lambda run: pretrain(MAE, pretraining("--init_from", run)),
    "fine-tuning of it": lambda run: finetune(ImageClassification, finetuning("--model", run)),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_of_an_earlier_version_is_refused_in_one_line(command: str, tmp_path: Path) -> None:
    run_dir = with_layout(finished(tmp_path / "run"), None)
    before = sorted(run_dir.path.rglob("*"))
    with pytest.raises(ConfigError) as caught:
        COMMANDS[command](str(run_dir.path))
    assert str(caught.value).endswith(f"{run_dir.path} {EARLIER}")
    assert sorted(run_dir.path.rglob("*")) == before


@pytest.mark.parametrize("layout", [None, 1, "2", True])
def test_any_other_layout_is_an_earlier_one(layout: object, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="was made by an earlier version"):
        with_layout(begun(tmp_path), layout).read_config()


def test_a_later_layout_asks_for_an_update(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="was made by a later version of hfssl and cannot be opened: update hfssl"):
        with_layout(begun(tmp_path), LAYOUT + 1).is_run()


def test_a_run_stores_its_layout_and_opens_again(tmp_path: Path) -> None:
    run_dir = begun(tmp_path)
    assert run_dir.read_config()["layout"] == LAYOUT
    assert run_dir.is_run()
    again = parse(MAEConfig, ImageDataConfig, ["--config", str(run_dir.config_file)])
    assert again.digest() == run_dir.read_config()["digest"]


def test_a_config_of_something_else_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("model: {lr: 1}\n")
    assert not RunDir(tmp_path).is_run()
    with pytest.raises(ConfigError, match="holds something that is not a run: name an empty or a new folder"):
        pretraining("--output_dir", str(tmp_path))


def test_earlier_runs_neither_stop_nor_become_new_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = pretraining()
    RunDir(Path("runs/mae-000")).write_config(run.stored())
    started, lock = choose(run)
    lock.release()
    assert started.run_dir.path == Path("runs/mae-000")
    with_layout(RunDir(Path("runs/mae-000")), None)
    started, lock = choose(run)
    lock.release()
    assert started.run_dir.path == Path("runs/mae-001")
