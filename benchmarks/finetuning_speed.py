"""Speed and memory of fine-tuning an image classifier, beside the bare step of its stock model.

    python benchmarks/finetuning_speed.py --rounds 3

demo:digits at 32 px, patches of 4, 4 layers; float32, fused AdamW, clipped. Each side in a process of its own, in turns:
- loop: batches, augmentation and steps of the loop, width 192, batches of 64.
- bare: forward, loss, backward, clip and step of the same stock model on one batch that lies in memory.
- full, lora: the loop at width 512, batches of 32: the most bytes that the first two steps hold at once beside the weights
  (activations, gradients, moments), as torch's profiler counts them.
- frozen: 100 epochs of a head on features computed once, against one pass of the encoder over the rows, width 192.
2 steps to warm up, then the median of --steps. Writes benchmarks/results/finetuning_speed.json.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).resolve().parent / "results"
SIDES = ("loop", "bare", "full", "lora", "frozen")
WARM_UP, EPOCHS = 2, 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--side", choices=SIDES, help="measure one side and print it (for the processes started here)")
    arguments = parser.parse_args()
    if arguments.side is not None:
        torch.set_num_threads(arguments.threads)
        with tempfile.TemporaryDirectory() as folder:
            os.environ["HFSSL_CACHE"] = str(Path(folder) / "cache")  # nothing is found from an earlier round
            print(json.dumps(measured(arguments, Path(folder))))
        return
    rounds = []
    for _ in range(arguments.rounds):
        found = {side: in_process(side, arguments) for side in SIDES}
        rounds.append(found | {"ratios": ratios(found)})
        print(rounds[-1]["ratios"], flush=True)
    write(arguments, rounds)


def in_process(side: str, arguments: argparse.Namespace) -> dict[str, float]:
    own = ["--side", side, "--steps", str(arguments.steps), "--threads", str(arguments.threads)]
    done = subprocess.run([sys.executable, __file__, *own], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def ratios(found: dict[str, dict[str, float]]) -> dict[str, float]:
    return {
        "loop_speed_of_bare": found["bare"]["seconds"] / found["loop"]["seconds"],
        "lora_peak_of_full": found["lora"]["peak_bytes"] / found["full"]["peak_bytes"],
        "frozen_epochs_in_passes": found["frozen"]["epochs_seconds"] / found["frozen"]["pass_seconds"],
    }


def write(arguments: argparse.Namespace, rounds: list[dict[str, Any]]) -> None:
    from hfssl.training.start import cpu_name, versions

    own = f"--rounds {arguments.rounds} --steps {arguments.steps} --threads {arguments.threads}"
    result = {
        "command": f"python benchmarks/finetuning_speed.py {own}",
        "versions": versions(),
        "cpu": cpu_name(),
        "median_ratios": {
            name: statistics.median(entry["ratios"][name] for entry in rounds) for name in rounds[0]["ratios"]
        },
        "rounds": rounds,
    }
    (RESULTS / "finetuning_speed.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def write_encoder(folder: Path, width: int) -> Path:
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    torch.manual_seed(0)
    size: dict[str, Any] = {"hidden_size": width, "num_hidden_layers": 4, "num_attention_heads": width // 64}
    size |= {"intermediate_size": 4 * width, "image_size": 32, "patch_size": 4}
    ViTModel(ViTConfig(**size), add_pooling_layer=False).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def opened(arguments: argparse.Namespace, folder: Path, adaptation: Any, width: int, batch: int) -> Any:
    from transformers import AutoConfig

    from hfssl.config.parse import make_run
    from hfssl.config.sections import LoopConfig, OptimConfig
    from hfssl.data.images.config import ImageDataConfig
    from hfssl.run_dir import RunDir
    from hfssl.runs.context import RunContext
    from hfssl.runs.open_session import open_session
    from hfssl.tasks.image_classification.config import ImageClassificationConfig
    from hfssl.tasks.image_classification.objective import ImageClassification
    from hfssl.training.accelerator import start
    from hfssl.training.start import Start

    encoder = write_encoder(folder / "encoder", width)
    names = tuple(str(digit) for digit in range(10))
    run = make_run(
        ImageClassificationConfig(model=str(encoder), adaptation=adaptation, class_names=names),
        ImageDataConfig(dataset="demo:digits", image_size=32, num_workers=0),
        OptimConfig(max_grad_norm=1.0),
        LoopConfig(
            output_dir=str(folder / "run"),
            init_from=str(encoder),
            max_steps=EPOCHS * 30,
            global_batch_size=batch,
            cpu_threads=arguments.threads,
        ),
    )
    started = Start(RunDir(folder / "run"), None, [])
    config = AutoConfig.from_pretrained(encoder)
    session, _ = open_session(RunContext(ImageClassification, run, config, start(run.loop)), started, verbose=False)
    return session


def measured(arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    if arguments.side == "bare":
        return bare(arguments, folder)
    if arguments.side == "frozen":
        return frozen(arguments, folder)
    if arguments.side == "loop":
        return looped(opened(arguments, folder, "full", 192, 64), WARM_UP + arguments.steps)
    session = opened(arguments, folder, arguments.side, 512, 32)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiled:
        looped(session, 2)
    profiled.export_chrome_trace(str(folder / "trace.json"))
    events = json.loads((folder / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    return {"peak_bytes": max(event["args"]["Total Allocated"] for event in events if event.get("name") == "[memory]")}


def looped(session: Any, num_steps: int) -> dict[str, float]:
    from hfssl.training.loop import prepare, steps_of_batches
    from hfssl.training.report import Stopwatch
    from hfssl.training.step import train_step

    parts = prepare(session)
    session.objective.train()
    ends = []
    batches = steps_of_batches(session, Stopwatch("images"))
    for step in range(num_steps):
        train_step(parts, next(batches), step=step, progress=step / 1000, stop=False)
        ends.append(time.perf_counter())
    return {"seconds": a_step(ends)}


def a_step(ends: list[float]) -> float:
    """Seconds, NaN of too few."""
    if len(ends) <= WARM_UP:
        return float("nan")
    return statistics.median(after - before for before, after in itertools.pairwise(ends[WARM_UP - 1 :]))


def bare(arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    session = opened(arguments, folder, "full", 192, 64)
    model = session.objective.model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    pixels, labels = torch.randn(64, 3, 32, 32), torch.randint(10, (64,))
    ends = []
    for _ in range(WARM_UP + arguments.steps):
        model(pixel_values=pixels, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        ends.append(time.perf_counter())
    return {"seconds": a_step(ends)}


def frozen(arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Seconds of EPOCHS epochs of the loop, and of one pass of the encoder over as many rows."""
    session = opened(arguments, folder, "frozen", 192, 64)
    whole = session.rows.pipeline.whole
    model = session.objective.model.eval()
    num_rows = len(session.rows.examples)
    with torch.inference_mode():
        pixels = torch.randn(64, 3, whole.data.image_size, whole.data.image_size)
        model(pixel_values=pixels)
        begun = time.perf_counter()
        for _ in range(10):
            model(pixel_values=pixels)
    a_pass = (time.perf_counter() - begun) / 10 * num_rows / 64
    steps = EPOCHS * num_rows // 64
    begun = time.perf_counter()
    looped(session, steps)
    return {"epochs_seconds": time.perf_counter() - begun, "pass_seconds": a_pass}


if __name__ == "__main__":
    main()
