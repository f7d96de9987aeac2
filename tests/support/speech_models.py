"""Tiny speech encoders of several architectures as checkpoints, and small sessions that fine-tune them."""

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from datasets import Audio, Dataset, Features, Value
from transformers import AutoConfig, AutoModel, Wav2Vec2FeatureExtractor

from hfssl import catalog
from hfssl.config.parse import make_run
from hfssl.config.run_config import RunConfig
from hfssl.config.sections import LoopConfig, OptimConfig
from hfssl.data.audio.config import AudioDataConfig
from hfssl.data.source import Source
from hfssl.run_dir import RunDir
from hfssl.runs import labelled as labelled_run
from hfssl.runs import open_session as session
from hfssl.runs.context import RunContext
from hfssl.training.accelerator import start
from hfssl.training.loop import Session
from hfssl.training.start import Start
from tests.support.laboratory import few_recordings

_SIZES: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
_SIZES |= {"conv_dim": [8, 8, 8], "conv_kernel": [10, 8, 4], "conv_stride": [10, 8, 4], "num_feat_extract_layers": 3}
_SIZES |= {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 12}
_DROPOUTS = ("hidden_dropout", "attention_dropout", "feat_proj_dropout", "activation_dropout", "final_dropout")
_LAYER = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "layer": ("wav2vec2", _LAYER),
    "group": ("wav2vec2", {"feat_extract_norm": "group"}),
    "hubert": ("hubert", _LAYER),
    "wavlm": ("wavlm", {"feat_extract_norm": "group"}),
}
_WITHOUT_MASK = ("group",)


def write_encoder(kind: str, folder: Path, **settings: Any) -> Path:
    """An untrained encoder without dropout beside its feature extractor."""
    model_type, own = KINDS[kind]
    masks = {"mask_time_prob": 0.3, "mask_time_length": 3, "layerdrop": 0.5}
    config = AutoConfig.for_model(model_type, **_SIZES | dict.fromkeys(_DROPOUTS, 0.0) | masks | own | settings)
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=kind not in _WITHOUT_MASK).save_pretrained(folder)
    return folder


def task_run(task: str, base: Path, folder: Path, method: dict[str, Any] | None = None, **loop: Any) -> RunConfig:
    """A tiny run of a task on `base`; keywords go to LoopConfig."""
    config = catalog.task_config_of(task)(**{"model": str(base)} | (method or {}))
    labels = {"label_column": "text"} if task == "speech_recognition" else {}
    data = AudioDataConfig(dataset="demo:vowels", max_duration_seconds=0.8, num_workers=0, **labels)
    settings: dict[str, Any] = {"output_dir": str(folder), "max_steps": 4, "global_batch_size": 8, "log_every": 2}
    settings |= {"save_every": 100, "evaluate_every": 2, "cpu_threads": 1} | loop
    optim = OptimConfig(base_learning_rate=1e-3, warmup_fraction=0.2)
    return make_run(config, data, optim, LoopConfig(**settings))


def use_few_recordings(source: Source | None = None) -> None:
    """Let tasks of this process open these recordings, by default labelled ones."""
    session.OPENERS["audio"] = lambda data: source or few_recordings()


def few_transcribed(*, texts: dict[int, str] | None = None) -> Source:
    """`few_recordings` with made-up transcripts of 3 to 8 characters, except where `texts` has others by row."""
    source = few_recordings()
    words = ["".join(np.random.default_rng(row).choice(list("abc D"), 3 + row % 6)) + "a" for row in range(len(source))]
    for row, text in (texts or {}).items():
        words[row] = text
    rows = source.rows.remove_columns("label").add_column("text", words)
    rows._fingerprint = f"few-transcribed-{texts}"
    return dataclasses.replace(source, rows=rows, all_rows=rows, label_column="text")


def open_task(
    task: str,
    base: Path,
    folder: Path,
    method: dict[str, Any] | None = None,
    *,
    started: Start | None = None,
    source: Source | None = None,
    **loop: Any,
) -> Session:
    """A session of a tiny run, as fine-tuning opens it."""
    use_few_recordings(source or (few_transcribed() if task == "speech_recognition" else few_recordings()))
    task_class: Any = catalog.task(task)[1]
    run, model_config = labelled_run.with_model(task_run(task, base, folder, method, **loop))
    run = labelled_run.with_classes(catalog.task(task)[1], run, labelled_run.open_divided(run).source)  # type: ignore[arg-type]
    started = started or Start(RunDir(folder), None, [])
    opened, _ = session.open_session(RunContext(task_class, run, model_config, start(run.loop)), started)
    return opened


def spelt_tones(count: int = 96) -> Source:
    """Recordings of two to four tones of 0.16 s, a letter each, with their letters as transcripts."""
    recordings, texts = [], []
    for row in range(count):
        generator = np.random.default_rng(row)
        text = "".join(generator.choice(list("abc"), 2 + row % 3))
        time = np.arange(2_560) / 16_000
        tones = [
            np.sin(2 * np.pi * {"a": 300, "b": 900, "c": 2700}[letter] * time) * np.hanning(2_560) for letter in text
        ]
        buffer = io.BytesIO()
        sound = 0.4 * np.concatenate(tones) + 0.01 * generator.standard_normal(2_560 * len(text))
        soundfile.write(buffer, sound, 16_000, format="WAV", subtype="PCM_16")
        recordings.append({"bytes": buffer.getvalue(), "path": None})
        texts.append(text)
    features = Features({"audio": {"bytes": Value("binary"), "path": Value("string")}, "text": Value("string")})
    rows = Dataset.from_dict({"audio": recordings, "text": texts}, features=features)
    rows = rows.cast_column("audio", Audio(decode=False))
    rows._fingerprint = f"spelt-tones-{count}"
    return Source("demo:vowels", "train", rows, "audio", "text", None, rows)
