"""Every command that takes a model or a run finds it in one place, and says the same where it is not there."""

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from hfssl.checkpoints.locate import find_checkpoint
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
from hfssl.data.images.config import ImageDataConfig
from hfssl.errors import ConfigError
from hfssl.evaluation.evaluate_config import EvaluateConfig
from hfssl.hub.publish_config import PublishConfig
from hfssl.methods.mae.config import MAEConfig
from hfssl.methods.mae.objective import MAE
from hfssl.predicting.predict_config import PredictConfig
from hfssl.run_dir import RunDir
from hfssl.runs.context import Blueprint
from hfssl.runs.open_session import build_objective
from hfssl.tasks.image_classification.config import ImageClassificationConfig
from hfssl.tasks.image_classification.objective import ImageClassification
from hfssl.training.accelerator import start
from hfssl.training.checkpoint import TrainState, save
from tests.support.finetuned_folder import adapter_folder
from tests.support.run_folder import begun, finished

Command = Callable[[str], object]


@pytest.fixture
def of_models(tmp_path: Path) -> dict[str, Command]:
    """Each command that takes a model, as a function of it."""
    asked = tmp_path / "asked"
    asked.mkdir()
    length = ["--max_steps", "2", "--dataset", "demo:digits", "--output_dir", str(asked / "run")]
    out = {"output": str(asked / "out.parquet")}

    def fine_tune(model: str) -> object:
        flags = ["--config", "small", "--model", model, *length]
        return finetune(ImageClassification, parse(ImageClassificationConfig, ImageDataConfig, flags))

    def go_on(model: str) -> object:
        return pretrain(MAE, parse(MAEConfig, ImageDataConfig, ["--config", "small", "--init_from", model, *length]))

    return {
        "evaluate": lambda model: evaluate(EvaluateConfig(model=model, dataset="demo:digits")),
        "embed": lambda model: embed(EmbedConfig(model=model, dataset="demo:digits", **out)),
        "predict": lambda model: predict(PredictConfig(model=model, input=str(tmp_path))),
        "finetune": fine_tune,
        "pretrain": go_on,
    }


def exported(run: str) -> object:
    return export_checkpoint(ExportConfig(run=run))


def published(run: str, *, allow_unfinished: bool = False) -> object:
    config = PublishConfig(run=run, hub_model_id="digits", dry_run=True, allow_unfinished=allow_unfinished)
    return publish(config)


def published_as_it_is(run: str) -> object:
    return published(run, allow_unfinished=True)


def reported(run: str) -> object:
    return report(ReportConfig(run=run))


def said_of(model: str, commands: Mapping[str, Command]) -> str:
    """The one error of all these commands, without the flag that names the model."""
    said: dict[str, str] = {}
    for name, command in commands.items():
        with pytest.raises(ConfigError) as refused:
            command(model)
        flag, _, rest = str(refused.value).partition(" ")
        said[name] = rest if flag in ("--model", "--init_from", "--run") else str(refused.value)
    assert len(set(said.values())) == 1, said
    message = next(iter(said.values()))
    assert "\n" not in message
    return message


def with_checkpoint(run_dir: RunDir) -> RunDir:
    """A folder of a checkpoint, as far as a look at its name goes."""
    run_dir.checkpoint(20).mkdir(parents=True)
    return run_dir


def test_an_unfinished_run_names_the_command_that_exports_its_newest_checkpoint(
    of_models: dict[str, Command], tmp_path: Path
) -> None:
    run = str(with_checkpoint(begun(tmp_path / "mae-000")).path)
    assert said_of(run, of_models) == (
        f"{run} is not finished and has no export yet: hfssl export --run {run} makes one of its newest checkpoint"
    )
    assert said_of(run, {"publish": published}).startswith(f"{run} is not finished: let it finish, or publish it")


def test_the_command_that_the_error_names_makes_the_model_that_was_missing(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "a run" / "mae 000")
    flags = ["--config", "demo", "--max_steps", "4", "--output_dir", str(run_dir.path)]
    run = parse(MAEConfig, ImageDataConfig, flags)
    run_dir.write_config(run.stored())
    accelerator = start(run.loop)
    pipeline = MAE.data_pipeline(run.method, run.data, None)
    accelerator.prepare(build_objective(Blueprint(MAE, run, None), pipeline, load=False, verbose=False))
    save(accelerator, run_dir, TrainState(step=2, max_steps=4, num_rows=8, loss_scale=1.0), keep=1)
    with pytest.raises(ConfigError) as refused:
        find_checkpoint(str(run_dir.path))
    command = str(refused.value).split(" yet: ")[1].removesuffix(" makes one of its newest checkpoint")
    name, *given = shlex.split(command)
    assert name == "hfssl"
    subprocess.run([sys.executable, "-m", "hfssl", *given], check=True, timeout=170)
    assert find_checkpoint(str(run_dir.path)).location == str(run_dir.export)


def test_a_finished_run_that_lost_its_export_names_that_command_too(
    of_models: dict[str, Command], tmp_path: Path
) -> None:
    run_dir = with_checkpoint(finished(tmp_path / "mae-000"))
    shutil.rmtree(run_dir.export)
    said = said_of(str(run_dir.path), of_models | {"publish": published})
    assert "is finished but has no export: hfssl export --run" in said


def test_a_run_without_export_and_checkpoint_can_only_be_trained_further(
    of_models: dict[str, Command], tmp_path: Path
) -> None:
    run = str(begun(tmp_path / "mae-000").path)
    said = said_of(run, of_models | {"export": exported, "publish": published_as_it_is})
    assert (
        said == f"{run} has no checkpoint to make an export of: let it train up to its first one, or name another run"
    )


@pytest.mark.parametrize("name", ["nowhere", "a/folder/that/is/none"])
def test_a_path_that_does_not_exist_is_no_hub_id(name: str, of_models: dict[str, Command], tmp_path: Path) -> None:
    path = str(tmp_path / name)
    assert said_of(path, of_models) == f"{path} does not exist: name a run folder, an export or a Hub id"
    of_runs = {"export": exported, "publish": published, "report": reported}
    assert said_of(path, of_runs) == f"{path} does not exist: name a run folder"


def test_files_and_folders_without_a_model_are_told_apart(of_models: dict[str, Command], tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"weights")
    (tmp_path / "empty").mkdir()
    assert " is a file: name a run folder" in said_of(str(tmp_path / "weights.bin"), of_models)
    assert " holds no model, neither config.json nor adapter_config.json: " in said_of(
        str(tmp_path / "empty"), of_models
    )
    of_runs = {"export": exported, "publish": published, "report": reported}
    assert said_of(str(tmp_path / "empty"), of_runs).endswith(" is not a run folder: it has no config.yaml")


def test_an_adapter_whose_base_is_gone_names_the_base(of_models: dict[str, Command], tmp_path: Path) -> None:
    export, _ = adapter_folder(tmp_path / "made")
    base = tmp_path / "made" / "base"
    shutil.rmtree(base)
    assert said_of(str(export), of_models) == f"{export} is an adapter of {base}, which is gone: put that back"
    run_dir = finished(tmp_path / "run")
    shutil.rmtree(run_dir.export)
    export.rename(run_dir.export)
    said = said_of(str(run_dir.path), of_models | {"publish": published})
    assert f"which is gone: put that back, or let hfssl export --run {run_dir.path} --merge make" in said


def test_an_adapter_whose_base_is_not_in_the_cache_names_the_base_too(
    of_models: dict[str, Command], tmp_path: Path
) -> None:
    export, _ = adapter_folder(tmp_path / "made")
    file = export / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": "nobody/nothing"}))
    del of_models["finetune"], of_models["pretrain"]  # which take no adapter at all
    said = said_of(str(export), of_models)
    assert f"{export} is an adapter of nobody/nothing, which is no folder here, and the Hub cannot be reached" in said


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_damaged_export_names_the_file(name: str, of_models: dict[str, Command], tmp_path: Path) -> None:
    run_dir = finished(tmp_path / "mae-000")
    file = run_dir.export / name
    file.write_bytes(file.read_bytes()[:-9])
    said = said_of(str(run_dir.path), of_models | {"publish": published})
    assert said.startswith(f"{file} is damaged (")
    assert said.endswith("): make the export again, or fetch the checkpoint again")


def test_a_hub_id_that_cannot_be_reached(of_models: dict[str, Command]) -> None:
    said = said_of("nobody/nothing", of_models)
    assert said == "nobody/nothing is no folder here, and the Hub cannot be reached: check the name and the connection"


def test_a_checkpoint_is_called_by_its_run_folder_or_hub_id(tmp_path: Path) -> None:
    run_dir = finished(tmp_path / "mae-007")
    export = str(run_dir.export)
    assert find_checkpoint(str(run_dir.path))[:2] == (export, "mae-007")
    assert find_checkpoint(export)[:2] == (export, "mae-007")
    assert find_checkpoint("facebook/dinov2-small")[:2] == ("facebook/dinov2-small", "facebook/dinov2-small")


def test_the_full_pretraining_model_of_a_run_comes_first_where_it_is_asked_for(tmp_path: Path) -> None:
    run_dir = finished(tmp_path / "mae-007")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    torch.manual_seed(0)
    assert find_checkpoint(str(run_dir.path), prefers_pretraining=True).location == str(run_dir.export)
    BertForMaskedLM(BertConfig(vocab_size=16, **sizes)).save_pretrained(run_dir.export / "pretraining")
    assert find_checkpoint(str(run_dir.path)).location == str(run_dir.export)
    full = find_checkpoint(str(run_dir.path), prefers_pretraining=True)
    assert (full.location, full.name) == (str(run_dir.export / "pretraining"), "mae-007")


def test_finding_a_checkpoint_needs_no_torch(tmp_path: Path) -> None:
    run_dir = finished(tmp_path / "mae-007")
    code = (
        "import sys; from hfssl.checkpoints.locate import find_checkpoint; "
        f"find_checkpoint({str(run_dir.path)!r}); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=170).returncode == 0
