"""Fine-tuning on texts and speech: a killed run ends with the bits of an unbroken one, two processes do what one does."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hfssl.catalog import task
from hfssl.commands.finetune import finetune
from hfssl.config.run_config import RunConfig
from hfssl.run_dir import RunDir
from hfssl.training.checkpoint import TrainState, newest_whole, read_state
from hfssl.training.loop import prepare
from hfssl.training.step import train_step
from tests.support import speech_models, texts_with_labels
from tests.support.laboratory import differing, record_gradients, relative_error, steps_of
from tests.support.processes import in_processes
from tests.support.ranks import Ranks
from tests.support.texts_with_labels import question_rows, table, tagged

TOKENS, QUESTIONS, AUDIO, SPEECH = (
    "token_classification",
    "question_answering",
    "audio_classification",
    "speech_recognition",
)


def checkpoint_of(name: str, folder: Path, dropout: float = 0.1) -> str:
    if name in (AUDIO, SPEECH):
        dropouts = {"hidden_dropout": dropout, "attention_dropout": dropout}
        return str(speech_models.write_encoder("layer", folder / "model", **dropouts))
    model = texts_with_labels.checkpoint("bert", folder / "model")
    tagged(folder / "tagged.jsonl", 120)  # with eight validation rows, which any number of ranks share out
    table(question_rows(), folder / "asked.jsonl")
    return model


def run_in(name: str, folder: Path, model: str, **loop: Any) -> RunConfig:
    """A run of six steps that looks at its validation rows after every second."""
    settings = {"max_steps": 6, "save_every": 2, "evaluate_every": 2, "log_every": 2} | loop
    if name in (AUDIO, SPEECH):
        speech_models.use_few_recordings(speech_models.few_transcribed() if name == SPEECH else None)
        return speech_models.task_run(name, Path(model), folder, {"freeze_convolutions": False}, **settings)
    rows = Path(model).parent / ("tagged.jsonl" if name == TOKENS else "asked.jsonl")
    own: dict[str, Any] = {"doc_stride": 4} if name == QUESTIONS else {"class_weights": "balanced"}
    return texts_with_labels.run_of(name, model, str(rows), folder, loop=settings, **own)


def carried_out(name: str, folder: Path, model: str, stop_after: int | None) -> None:
    """The run, killed once its checkpoint of step `stop_after` is there."""
    import hfssl.training.loop as loop_module

    save = loop_module.save

    def save_and_die(accelerator: Any, run_dir: RunDir, state: TrainState, *, keep: int) -> Any:
        written = save(accelerator, run_dir, state, keep=keep)
        if state.step == stop_after:
            raise KeyboardInterrupt
        return written

    loop_module.save = save_and_die
    try:
        with contextlib.suppress(KeyboardInterrupt):
            finetune(task(name)[1], run_in(name, folder, model))  # type: ignore[arg-type]
    finally:
        loop_module.save = save


@pytest.mark.parametrize("name", [TOKENS, QUESTIONS, AUDIO, SPEECH])
def test_a_killed_run_ends_bitwise_like_an_unbroken_one(name: str, tmp_path: Path) -> None:
    model = checkpoint_of(name, tmp_path)
    whole, killed = RunDir(tmp_path / "whole"), RunDir(tmp_path / "killed")
    in_processes(carried_out, name, whole.path, model, None)
    in_processes(carried_out, name, killed.path, model, 2)
    assert newest_whole(killed)[0] == 2
    assert not killed.export.exists()
    in_processes(carried_out, name, killed.path, model, None)
    ours, theirs = (load_file(each.checkpoint(6) / "model.safetensors") for each in (whole, killed))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[tensor], theirs[tensor]) for tensor in ours)
    assert read_state(whole, 6) == read_state(killed, 6)
    assert whole.read_summary() == killed.read_summary()


def trained_a_little(name: str, folder: Path, model: str) -> dict[str, Any]:
    """The first joint gradient of a rank, its weights after a second step, and what its validation rows say then."""
    if name == SPEECH:
        opened = speech_models.open_task(name, Path(model), folder)
    else:
        opened = texts_with_labels.opened(run_in(name, folder, model))
    parts = prepare(opened)
    opened.objective.train()
    gradients, first = record_gradients(opened.objective), {}
    for step, batches in enumerate(steps_of(opened, 2)):
        for group in parts.optimizer.param_groups:
            group["lr"] = 1e-3 * group["lr_scale"]
        train_step(parts, batches, step=step, progress=step / 6, stop=False)
        first = first or dict(gradients)
    assert opened.scored is not None
    figures = opened.scored.validate(opened.accelerator, opened.objective, opened.layout, 0.0)
    world = opened.layout.world_size
    return {"world": world, "gradients": first, "figures": figures, "weights": opened.objective.state_dict()}


@pytest.mark.parametrize("name", [TOKENS, SPEECH])
def test_two_processes_do_what_one_does(name: str, tmp_path: Path, ranks: Ranks) -> None:
    model = checkpoint_of(name, tmp_path, dropout=0.0)
    one = ranks.one(trained_a_little, name, tmp_path / "1", model)
    first, second = ranks.two(trained_a_little, name, tmp_path / "2", model)
    assert [one["world"], first["world"], second["world"]] == [1, 2, 2]
    assert relative_error(one["gradients"], first["gradients"]) < 1e-5
    assert first["figures"] == second["figures"] == pytest.approx(one["figures"], abs=1e-4)
    assert differing(first["weights"], second["weights"]) == []
