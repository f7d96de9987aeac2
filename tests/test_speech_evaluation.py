"""Evaluating speech checkpoints: features as a stranger gets them, probes of layers, floors, refusals that help."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from transformers import (
    ASTConfig,
    ASTModel,
    AutoModel,
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
)

from hfssl.commands.evaluate import evaluate
from hfssl.data.audio.source import open_recordings
from hfssl.data.source import Source
from hfssl.errors import ConfigError
from hfssl.evaluation.audio_features import layer_features, open_audio_encoder, untrained_audio_encoder
from hfssl.evaluation.clips import NUM_MELS, Clips, log_mel, log_mel_statistics
from hfssl.evaluation.evaluate_config import EvaluateConfig
from hfssl.evaluation.layers import layer_probes
from tests.support.recordings import RATE, config_for, write_recordings

CPU = torch.device("cpu")
SIZES: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SIZES |= {"conv_dim": (8, 8, 8), "conv_kernel": (10, 8, 4), "conv_stride": (10, 8, 4)}
SIZES |= {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
NORMS: dict[str, dict[str, Any]] = {
    "group": {"feat_extract_norm": "group"},
    "layer": {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
}


def save_speech(folder: Path, norm: str = "layer", kind: str = "wav2vec2") -> None:
    torch.manual_seed(0)
    model = (
        HubertModel(HubertConfig(**SIZES, **NORMS[norm]))
        if kind == "hubert"
        else Wav2Vec2Model(Wav2Vec2Config(**SIZES, **NORMS[norm]))
    )
    model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer").save_pretrained(folder)


def tones(folder: Path, count: int) -> None:
    """Low and high tones in noise, 0.4 to 0.9 s, two classes, a train and a test folder."""
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        for index in range(count):
            name, pitch = ("low", 200) if index % 2 else ("high", 2_000)
            time = np.arange(round(generator.uniform(0.4, 0.9) * RATE)) / RATE
            audio = 0.3 * np.sin(2 * np.pi * pitch * generator.uniform(0.9, 1.1) * time)
            target = folder / split / name
            target.mkdir(parents=True, exist_ok=True)
            soundfile.write(target / f"{index:02}.wav", audio + 0.05 * generator.standard_normal(len(time)), RATE)


def source_of(folder: Path) -> Source:
    return open_recordings(config_for(folder, validation_share=0.0))


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert"])
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_features_of_each_layer_are_those_of_a_recording_alone(norm: str, kind: str, tmp_path: Path) -> None:
    save_speech(tmp_path / "model", norm, kind)
    write_recordings(tmp_path / "data", [0.5, 0.3, 0.8, 0.3, 0.61])
    encoder = open_audio_encoder(tmp_path / "model", CPU)
    clips = Clips(source_of(tmp_path / "data"), encoder.sampling_rate)
    layers_NLD = layer_features(encoder, clips)
    assert layers_NLD.shape == (5, 3, 16)
    model = AutoModel.from_pretrained(tmp_path / "model").eval()
    for index in range(len(clips)):
        inputs = encoder.processor(clips[index].numpy(), sampling_rate=RATE, return_tensors="pt")
        with torch.inference_mode():
            output = model(**inputs, output_hidden_states=True)
        assert np.allclose(layers_NLD[index, -1], output.last_hidden_state[0].mean(dim=0), atol=1e-5)
        assert np.allclose(layers_NLD[index, 0], output.hidden_states[0][0].mean(dim=0), atol=1e-5)
    fresh = layer_features(untrained_audio_encoder(tmp_path / "model", 1, CPU), clips)
    assert fresh.shape == layers_NLD.shape
    assert not np.allclose(fresh, layers_NLD, atol=1e-3)


def test_clips_leave_out_what_can_not_be_heard_and_know_copies(tmp_path: Path) -> None:
    write_recordings(tmp_path, [0.5, 0.05, 0.6])
    (tmp_path / "a" / "broken.wav").write_bytes(b"RIFF")
    (tmp_path / "b" / "copy.wav").write_bytes((tmp_path / "a" / "00.wav").read_bytes())
    clips = Clips(source_of(tmp_path), RATE)
    assert (len(clips), clips.num_bad) == (3, 2)
    assert len(set(clips.hashes.tolist())) == 2
    assert sorted(clips.lengths.tolist()) == [8000, 8000, 9600]
    half = clips.part(clips.lengths == 9600)
    assert (len(half), len(half[0])) == (1, 9600)


def test_the_log_mel_spectrogram_shows_a_tone_where_it_is() -> None:
    time = torch.arange(RATE) / RATE
    frames = log_mel(torch.sin(2 * torch.pi * 1_000 * time), RATE)
    assert frames.shape == (98, NUM_MELS)
    mels = 2595 * np.log10(1 + np.array([1_000, 8_000]) / 700)  # the band of 1 kHz on either mel scale, within a few
    assert abs(float(frames.mean(dim=0).argmax()) - NUM_MELS * mels[0] / mels[1]) < 4


def test_the_probe_of_a_layer_and_the_weighted_sum_find_the_layer_that_knows() -> None:
    generator = np.random.default_rng(0)
    labels_N = generator.integers(0, 3, 150)
    layers_NLD = generator.standard_normal((150, 3, 8)).astype(np.float32)
    layers_NLD[:, 1, :3] += 4 * np.eye(3)[labels_N]
    found = layer_probes(layers_NLD[:100], labels_N[:100], layers_NLD[100:], labels_N[100:])
    assert np.argmax(found["linear"]) == 1
    assert found["linear"][1] > 0.9 > 0.6 > found["linear"][0]
    assert np.argmax(found["weights"]) == 1
    assert found["weighted_sum"] > 0.9
    assert sum(found["weights"]) == pytest.approx(1.0, abs=1e-5)


def test_a_foreign_speech_checkpoint_from_flags_to_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_speech(tmp_path / "model")
    tones(tmp_path / "data", 24)
    config = EvaluateConfig(
        model=str(tmp_path / "model"),
        dataset=str(tmp_path / "data"),
        label_sizes=("2", "100%"),
        num_seeds=2,
        output_dir=str(tmp_path / "eval"),
        cpu_threads=1,
    )
    result = evaluate(config)
    assert [row["features"] for row in result["rows"]] == ["log-mel", "untrained", "evaluated"]
    assert result["rows"][0]["width"] == 2 * NUM_MELS
    assert result["rows"][0]["linear"] == 1.0  # two tones
    assert len(result["layers"]["linear"]) == 3
    assert len(result["rows"][-1]["curve"]) == 2
    assert "linear probe by layer" in capsys.readouterr().out
    stored = json.loads((tmp_path / "eval" / "evaluate-data.json").read_text(encoding="utf-8"))
    assert stored["layers"] == result["layers"]
    statistics = log_mel_statistics(Clips(source_of(tmp_path / "data"), RATE))
    assert statistics.shape == (24, 2 * NUM_MELS)


def test_a_flag_of_texts_has_no_effect_on_recordings(tmp_path: Path) -> None:
    save_speech(tmp_path)
    config = EvaluateConfig(model=str(tmp_path), dataset="demo:vowels", text_column="text")
    with pytest.raises(ConfigError, match="--text_column has no effect"):
        evaluate(config)


def test_a_model_of_spectrograms_is_refused(tmp_path: Path) -> None:
    small: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "max_length": 32}
    ASTModel(ASTConfig(**small, num_mel_bins=16)).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="which reads spectrograms: name a speech encoder"):
        open_audio_encoder(tmp_path, CPU)
