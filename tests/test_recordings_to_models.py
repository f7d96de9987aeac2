"""The whole way of recordings, as a user goes it: from a folder of files to a speech encoder that strangers load."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, AutoModel, Wav2Vec2ForPreTraining, pipeline

from hfssl.commands.pretrain import pretrain
from hfssl.config.parse import parse
from hfssl.data.audio.config import AudioDataConfig
from hfssl.errors import ConfigError
from hfssl.methods.wav2vec2.config import Wav2Vec2PretrainingConfig
from hfssl.methods.wav2vec2.objective import Wav2Vec2
from hfssl.run_dir import RunDir
from tests.support.interpreter import Interpreter
from tests.test_speech_evaluation import tones

SMALL = ["--config", "demo", "--hidden_size", "16", "--num_hidden_layers", "1", "--num_attention_heads", "2"]
SMALL += ["--conv_dim", "8", "8", "8", "--conv_kernel", "10", "8", "4", "--conv_stride", "10", "8", "4"]
SMALL += ["--num_codevectors", "8", "--codevector_size", "8", "--max_duration_seconds", "1.0", "--batch_seconds", "4.0"]
SMALL += ["--min_duration_seconds", "0.3", "--max_steps", "6", "--log_every", "2", "--cpu_threads", "1"]
SMALL += ["--audio_column", "none", "--label_column", "none", "--feat_extract_norm", "layer"]


def run_on(folder: Path, output: Path, *more: str) -> RunDir:
    argv = [*SMALL, "--dataset", str(folder), "--output_dir", str(output), *more]
    return pretrain(Wav2Vec2, parse(Wav2Vec2PretrainingConfig, AudioDataConfig, argv))


@pytest.fixture(scope="module")
def two_tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tones")
    tones(folder, 24)
    return folder


@pytest.fixture(scope="module")
def finished(two_tones: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return run_on(two_tones, tmp_path_factory.mktemp("runs") / "run")


def test_the_closing_table_stands_beside_log_mel_and_names_layers_and_codes(finished: RunDir) -> None:
    summary = finished.read_summary()
    assert summary is not None
    assert [row["features"] for row in summary["rows"]] == ["log-mel", "untrained", "pretrained"]
    assert summary["rows"][0]["linear"] == 1.0
    assert len(summary["layers"]["linear"]) == 2
    assert summary["pretext"]["samples"] == "recordings"
    assert 0 < summary["pretext"]["chance"] < 1
    assert any(note.startswith("code perplexity") for note in summary["notes"])
    assert (finished.figures / "contrast.png").stat().st_size > 10_000
    report = finished.report_file.read_text(encoding="utf-8")
    assert "test recordings" in report


RUN_LINES = """
import contextlib, io, os
os.chdir(arguments[0])
with contextlib.redirect_stdout(io.StringIO()) as said:
    exec(arguments[1], {})
answer = said.getvalue()
"""


def test_the_card_is_that_of_a_speech_encoder_and_its_lines_run(
    finished: RunDir, two_tones: Path, without_hfssl: Interpreter
) -> None:
    card = finished.card_file.read_text(encoding="utf-8")
    assert "A speech encoder (Wav2Vec2Model" in card
    assert "pipeline_tag: feature-extraction" in card
    assert "audio-classification" in card
    assert str(two_tones) not in card
    snippet = card.split("```python\n")[1].split("```")[0]
    assert without_hfssl(RUN_LINES, str(finished.path), snippet).strip() == "torch.Size([1, 16])"


def test_a_stranger_loads_encoder_extractor_full_model_and_pipeline(finished: RunDir) -> None:
    extractor = AutoFeatureExtractor.from_pretrained(finished.export)
    assert (extractor.sampling_rate, extractor.do_normalize, extractor.return_attention_mask) == (16_000, True, True)
    encoder, info = AutoModel.from_pretrained(finished.export, output_loading_info=True)
    assert not info["missing_keys"]
    whole = Wav2Vec2ForPreTraining.from_pretrained(finished.export / "pretraining")
    own = whole.wav2vec2.state_dict()
    assert all(torch.equal(tensor, own[name]) for name, tensor in encoder.state_dict().items())
    audio = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    answers = pipeline("audio-classification", model=str(finished.export))(
        audio
    )  # the pipeline of arrays; a fresh head
    assert sum(answer["score"] for answer in answers) == pytest.approx(1.0)


def test_a_run_starts_from_another_runs_weights(
    finished: RunDir, two_tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sized = {"--hidden_size": 2, "--num_hidden_layers": 2, "--num_attention_heads": 2, "--num_codevectors": 2}
    sized |= {"--conv_dim": 4, "--conv_kernel": 4, "--conv_stride": 4, "--codevector_size": 2, "--feat_extract_norm": 2}
    flags = list(SMALL)
    for name, length in sized.items():
        start = flags.index(name)
        del flags[start : start + length]
    argv = [*flags, "--dataset", str(two_tones), "--output_dir", str(tmp_path), "--init_from", str(finished.path)]
    run = parse(Wav2Vec2PretrainingConfig, AudioDataConfig, [*argv, "--max_steps", "1"])
    continued = pretrain(Wav2Vec2, run)
    assert "new (0): none" in capsys.readouterr().out
    summary = continued.read_summary()
    assert summary is not None
    assert [row["features"] for row in summary["rows"]][1] == "before this run"


def test_without_labels_there_is_a_spread_and_the_task_itself(tmp_path: Path) -> None:
    tones(tmp_path / "data", 16)
    flat = tmp_path / "flat"
    flat.mkdir()
    for index, file in enumerate(sorted((tmp_path / "data" / "train").rglob("*.wav"))):
        (flat / f"{index}.wav").write_bytes(file.read_bytes())
    summary = run_on(flat, tmp_path / "run", "--max_steps", "2").read_summary()
    assert summary is not None
    assert "knn" not in summary["rows"][-1]
    assert summary["rows"][-1]["std"] >= 0
    assert "layers" not in summary
    assert json.dumps(summary["pretext"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--mask_length", "30"], "which must be more than the 30 of a span"),
        (["--batch_seconds", "0.5"], "batch_seconds must hold a window"),
        (["--hidden_size", "15"], "must be a multiple of num_attention_heads"),
        (["--per_device_batch_size", "2", "--global_batch_size", "2", "--feat_extract_norm", "group"], "leave it at 1"),
    ],
)
def test_what_can_not_work_is_refused_in_a_line(
    flags: list[str], message: str, two_tones: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        run_on(two_tones, tmp_path / "run", *flags)
