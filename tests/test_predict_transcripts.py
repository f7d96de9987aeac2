"""Predicted transcripts: those of transformers' pipeline and of the run itself, in any batch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from transformers import pipeline

from hfssl.checkpoints.exports import write_export
from hfssl.predicting import opened
from hfssl.run_dir import RunDir
from tests.support import speech_models
from tests.support.predictions import predicted
from tests.support.recordings import RATE, noise
from tests.support.texts_with_labels import disturbed

SPEECH = "speech_recognition"
LORA = {"adaptation": "lora", "lora_rank": 2}


def recogniser(kind: str, folder: Path, **method: Any) -> tuple[RunDir, Any]:
    """(a run whose head says every character, its session)."""
    base = speech_models.write_encoder(kind, folder / "base")
    parts = speech_models.open_task(SPEECH, base, folder / "run", method)
    task: Any = disturbed(parts.objective)
    with torch.no_grad():
        named = {name: p for name, p in task.model.named_parameters() if p.requires_grad and "lm_head" in name}
        weight, bias = (next(p for name, p in named.items() if name.endswith(end)) for end in ("weight", "bias"))
        weight.normal_()
        examples = parts.rows.pipeline.whole_examples(speech_models.few_transcribed())
        batch = parts.rows.pipeline.eval_transform([examples[row] for row in range(8)])
        bias.sub_(task.logits(batch).flatten(0, 1).mean(dim=0))
    run_dir = RunDir(folder / "run")
    run_dir.write_config(parts.run.stored())
    write_export(task.export(), run_dir.export)
    return run_dir, parts


@pytest.mark.parametrize(("kind", "method"), [("layer", {}), ("group", {}), ("hubert", {}), ("layer", LORA)])
def test_transcripts_are_those_of_the_pipeline_and_of_the_run(
    kind: str, method: dict[str, Any], tmp_path: Path
) -> None:
    run_dir, parts = recogniser(kind, tmp_path, **method)
    (tmp_path / "heard").mkdir()
    data_pipeline: Any = parts.rows.pipeline
    examples = data_pipeline.whole_examples(speech_models.few_transcribed())
    for row in range(10):
        recording = examples[row][0]
        audio = recording.piece(0, len(recording)).numpy()
        soundfile.write(tmp_path / "heard" / f"{row:02}.wav", audio, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "heard" / "short.wav", noise(0.01, 1), RATE)
    soundfile.write(tmp_path / "heard" / "silent.wav", np.zeros(RATE), RATE)
    said = predicted(tmp_path, run_dir.path, tmp_path / "heard", batch_size=4)
    with torch.no_grad():
        task: Any = parts.objective
        own = task.predictions(data_pipeline.eval_transform([examples[row] for row in range(10)]))
    assert [row["text"] for row in said[:10]] == [heard for heard, _ in own]
    assert len({row["text"] for row in said[:10]}) > 5
    assert [row["error"] for row in said[10:]] == ["is shorter than 0.1 s", "is silent"]
    if not method:
        stock = pipeline("automatic-speech-recognition", model=str(run_dir.export), device="cpu")
        for row in said[:10]:
            audio, _ = soundfile.read(tmp_path / "heard" / row["input"], dtype="float32")
            assert stock({"raw": audio, "sampling_rate": RATE})["text"] == row["text"]
    together = predicted(tmp_path, run_dir.path, tmp_path / "heard", batch_size=64)
    assert together == said == predicted(tmp_path, run_dir.path, tmp_path / "heard", batch_size=1)


def test_equal_lengths_alone_share_a_batch_where_frames_can_not_be_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir, _ = recogniser("layer", tmp_path)
    (tmp_path / "heard").mkdir()
    for place, seconds in enumerate([0.5, 0.8, 0.5, 0.7]):
        soundfile.write(tmp_path / "heard" / f"{place}.wav", noise(seconds, place), RATE)
    whole = predicted(tmp_path, run_dir.path, tmp_path / "heard")
    sizes: list[int] = []
    original = opened.Opened.outputs
    monkeypatch.setattr(
        opened.Opened, "outputs", lambda self, pieces: sizes.append(len(pieces)) or original(self, pieces)
    )
    predicted(tmp_path, run_dir.path, tmp_path / "heard")
    assert sizes[2:] == [4]
    sizes.clear()
    monkeypatch.setattr("hfssl.predicting.transcripts.tells_frames", lambda config: False)
    assert predicted(tmp_path, run_dir.path, tmp_path / "heard") == whole
    assert sizes == [2, 1, 1]
