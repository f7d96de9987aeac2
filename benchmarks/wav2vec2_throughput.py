"""Seconds of audio a second and memory of wav2vec 2.0, ours beside transformers' own model and the procedure of its example.

    python benchmarks/wav2vec2_throughput.py --rounds 3

Width 256, 4 layers of 4 heads, 7 convolutions of 128 channels with a group norm, dropout 0.1, no layerdrop; 8 utterances of 5 s
a step, made of demo:vowels; float32, AdamW. Three sides, each in a process of its own, in turns:
- hfssl: batches and steps of the loop.
- stock: `Wav2Vec2FeatureExtractor.pad`, `_compute_mask_indices`, `_sample_negative_indices` and `Wav2Vec2ForPreTraining`, from
  recordings that are decoded and normalised before.
- bare: convolutions and transformer of one batch alone, with nothing hidden and nothing told apart.
2 steps to warm up, then the median of --steps; memory is the most that lay in RAM during these steps, less what did once model,
optimizer and data were built. Writes benchmarks/results/wav2vec2_throughput.json.
"""

import argparse
import ctypes
import io
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

RESULTS = Path(__file__).resolve().parent / "results"
RATE, SECONDS, UTTERANCES, RECORDINGS, WARM_UP = 16_000, 5, 8, 64, 2
MODEL: dict[str, Any] = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "conv_dim": (128,) * 7}
SIDES = ("hfssl", "stock", "bare")
FIGURES = ("audio_seconds_a_second", "peak_over_baseline_bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--side", choices=SIDES, help="measure one side and print it (for the processes started here)")
    parser.add_argument("--dataset", help="where the recordings lie (for the processes started here)")
    arguments = parser.parse_args()
    if arguments.side is not None:
        torch.set_num_threads(arguments.threads)
        print(json.dumps({"hfssl": hfssl, "stock": stock, "bare": bare}[arguments.side](arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_recordings(Path(folder))
        in_process("hfssl", folder)  # fills the cache
        rounds = []
        for _ in range(arguments.rounds):
            measured = {side: in_process(side, folder) for side in SIDES}
            rounds.append(measured | {"ratios": ratios(measured)})
            print(rounds[-1], flush=True)
    write(arguments, rounds)


def write_recordings(folder: Path) -> None:
    """Clips of demo:vowels, one after the other, 5 s each."""
    from hfssl.data.demo.vowels import vowels

    clips = [soundfile.read(io.BytesIO(sample["bytes"]))[0] for sample in vowels()["train"]["audio"]]
    tape = np.concatenate(list(itertools.islice(itertools.cycle(clips), 2 * RECORDINGS * SECONDS)))
    for index, piece in enumerate(tape[: RECORDINGS * SECONDS * RATE].reshape(RECORDINGS, -1)):
        soundfile.write(folder / f"{index:02}.wav", piece, RATE, subtype="PCM_16")


def in_process(side: str, folder: str) -> dict[str, Any]:
    """One side's figures, by a process that does nothing else."""
    command = [sys.executable, __file__, *sys.argv[1:], "--side", side, "--dataset", folder]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def ratios(measured: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Ours over each of the others."""
    return {
        side: {name: measured["hfssl"][name] / measured[side][name] for name in FIGURES} for side in ("stock", "bare")
    }


def write(arguments: argparse.Namespace, rounds: list[dict[str, Any]]) -> None:
    from hfssl.training.start import cpu_name, versions

    own = f"--rounds {arguments.rounds} --steps {arguments.steps} --threads {arguments.threads}"
    result = {
        "command": f"python benchmarks/wav2vec2_throughput.py {own}",
        "versions": versions(),
        "cpu": cpu_name(),
        "threads": arguments.threads,
        "median_ratios": {
            side: {name: statistics.median(entry["ratios"][side][name] for entry in rounds) for name in FIGURES}
            for side in ("stock", "bare")
        },
        "rounds": rounds,
    }
    (RESULTS / "wav2vec2_throughput.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


class Meter:
    """Ends of steps, and memory from the end of the first one on: the baseline is taken when it is made."""

    def __init__(self) -> None:
        ctypes.CDLL(None).malloc_trim(0)  # what building left behind is not part of the baseline
        self.baseline = resident("VmRSS")
        self.ends: list[float] = []
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak counts from here

    def step_done(self) -> None:
        self.ends.append(time.perf_counter())

    def figures(self) -> dict[str, float]:
        seconds = [after - before for before, after in itertools.pairwise(self.ends[WARM_UP - 1 :])]
        return {
            "audio_seconds_a_second": UTTERANCES * SECONDS / statistics.median(seconds),
            "peak_over_baseline_bytes": resident("VmHWM") - self.baseline,
        }


def resident(name: str) -> int:
    """Bytes of this process in RAM: VmRSS now, VmHWM at the most."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024


def opened(arguments: argparse.Namespace, folder: str) -> Any:
    """Our session: the model of all sides."""
    from hfssl.config.parse import make_run
    from hfssl.config.sections import LoopConfig, OptimConfig
    from hfssl.data.audio.config import AudioDataConfig
    from hfssl.methods.wav2vec2.config import Wav2Vec2PretrainingConfig
    from hfssl.methods.wav2vec2.objective import Wav2Vec2
    from hfssl.run_dir import RunDir
    from hfssl.runs.context import RunContext
    from hfssl.runs.open_session import open_session
    from hfssl.training.accelerator import start
    from hfssl.training.start import Start

    run = make_run(
        Wav2Vec2PretrainingConfig(**MODEL),
        AudioDataConfig(
            dataset=arguments.dataset,
            max_duration_seconds=SECONDS,
            batch_seconds=UTTERANCES * SECONDS,
            validation_share=0.0,
            num_workers=0,
        ),
        OptimConfig(),
        LoopConfig(output_dir=folder, max_steps=1000, global_batch_size=1, cpu_threads=arguments.threads),
    )
    started = Start(RunDir(Path(folder)), None, [])
    session, _ = open_session(RunContext(Wav2Vec2, run, None, start(run.loop)), started, verbose=False)
    return session


def hfssl(arguments: argparse.Namespace) -> dict[str, float]:
    from hfssl.training.loop import prepare, steps_of_batches
    from hfssl.training.report import Stopwatch
    from hfssl.training.step import train_step

    with tempfile.TemporaryDirectory() as scratch:
        session = opened(arguments, scratch)
    parts = prepare(session)
    session.objective.train()
    meter = Meter()
    batches = steps_of_batches(session, Stopwatch("rows"))
    for step in range(WARM_UP + arguments.steps):
        micro_batches = next(batches)
        assert [batch["input_values"].shape for batch in micro_batches] == [(UTTERANCES, SECONDS * RATE)]
        train_step(parts, micro_batches, step=step, progress=step / 1000, stop=False)
        meter.step_done()
    return meter.figures()


def model_and_audio(arguments: argparse.Namespace) -> tuple[Any, Any, list[dict[str, Any]]]:
    """(model in training mode, feature extractor, recordings as the extractor gives them)."""
    with tempfile.TemporaryDirectory() as scratch:
        session = opened(arguments, scratch)
    model, processor = session.objective.model.train(), session.rows.pipeline.processor
    files = sorted(Path(arguments.dataset).glob("*.wav"))
    audio = [processor(soundfile.read(file)[0], sampling_rate=RATE)["input_values"][0] for file in files]
    return model, processor, [{"input_values": values} for values in audio]


def shuffled(audio: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Batches without end."""
    while True:
        order = torch.randperm(len(audio)).tolist()
        for start in range(0, len(order), UTTERANCES):
            yield [audio[index] for index in order[start : start + UTTERANCES]]


def stock(arguments: argparse.Namespace) -> dict[str, float]:
    model, processor, audio = model_and_audio(arguments)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    meter = Meter()
    for step, features in zip(range(WARM_UP + arguments.steps), shuffled(audio), strict=False):
        batch = collated(model, processor, features)
        num_losses = batch["mask_time_indices"].sum()
        model(**batch).loss.backward()
        for parameter in model.parameters():
            parameter.grad.mul_(1 / num_losses)
        optimizer.step()
        optimizer.zero_grad()
        model.set_gumbel_temperature(max(2.0 * 0.999995**step, 0.5))
        meter.step_done()
    return meter.figures()


def collated(model: Any, processor: Any, features: list[dict[str, Any]]) -> dict[str, Tensor]:
    """As transformers' example of pretraining wav2vec 2.0 does it."""
    from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices, _sample_negative_indices

    batch = processor.pad(features, padding="longest", return_tensors="pt")
    shape = (len(features), int(model._get_feat_extract_output_lengths(batch["input_values"].shape[-1])))
    config = model.config
    masked = _compute_mask_indices(shape, config.mask_time_prob, config.mask_time_length)
    negatives = _sample_negative_indices(shape, config.num_negatives, mask_time_indices=masked)
    return {
        "input_values": batch["input_values"],
        "mask_time_indices": torch.tensor(masked, dtype=torch.long),
        "sampled_negative_indices": torch.tensor(negatives, dtype=torch.long),
    }


def bare(arguments: argparse.Namespace) -> dict[str, float]:
    model, processor, audio = model_and_audio(arguments)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    values_NT = processor.pad(next(shuffled(audio)), return_tensors="pt")["input_values"]
    backbone = model.wav2vec2
    meter = Meter()
    for _ in range(WARM_UP + arguments.steps):
        frames_NTC = backbone.feature_extractor(values_NT).transpose(1, 2)
        backbone.encoder(backbone.feature_projection(frames_NTC)[0]).last_hidden_state.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        meter.step_done()
    return meter.figures()


if __name__ == "__main__":
    main()
