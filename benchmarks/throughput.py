"""Images a second of a masked autoencoder run, beside transformers' Trainer and a bare loop; seconds to the first step.

    python benchmarks/throughput.py --dataset path/to/cifar10

PATH is a folder with a train.parquet of 32 x 32 colour images in a column `image`. Four contenders train one model with one
optimizer in float32 on all cores, or on one GPU where there is one:

- bare: forward, backward, step on one resident batch; what the model alone allows.
- trainer 0, trainer 2: transformers' Trainer with that many data workers, a transform a row as in its own MAE example.
- ours: `recipes/mae.py` as it is, with its image cache filled.

Each contender lives in a process of its own. In every round each measures one window while the others stand still; the
order rotates. Ratios are taken within rounds: the median over rounds, with a bootstrap 95 % interval of that median.
One file, longer than others here, since contenders must not import each other's libraries through a shared module.
Checkpoints, and on Trainer's side logging and clipping, are off; ours logs as it does by default. Needs a POSIX system.
"""

import argparse
import contextlib
import importlib.metadata
import json
import multiprocessing
import os
import platform
import random
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest import mock

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "mae.py"
RESULTS = Path(__file__).resolve().parent / "results" / "throughput.json"
RATIO_GOALS = {"bare": 0.96, "trainer 0": 1.85, "trainer 2": 1.12}
MOST_SECONDS_AFTER_IMPORTS = 3.0
MOST_SECONDS_FOR_HELP = 1.0
START_REPETITIONS = 3
RESAMPLES = 10_000
IMAGE_SIZE = 32
PIXEL_MEAN = PIXEL_STD = 0.5
CROP_SCALE = (0.2, 1.0)
BASE_LEARNING_RATE, WEIGHT_DECAY, BETAS = 1.5e-4, 0.05, (0.9, 0.95)
SIZES: dict[str, Any] = {
    "patch_size": 4,
    "hidden_size": 192,
    "num_hidden_layers": 6,
    "num_attention_heads": 3,
    "intermediate_size": 768,
    "decoder_hidden_size": 96,
    "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": 3,
    "decoder_intermediate_size": 384,
    "mask_ratio": 0.75,
}
_BUSY_LOAD = 0.5
_ENDLESS = 1_000_000  # steps: more than any measurement takes
_IMPORTS = "import hfssl.methods.mae.objective, hfssl.commands.pretrain; print('done', flush=True)"
_PACKAGES = ("torch", "torchvision", "transformers", "accelerate", "datasets", "hfssl")

Figures = dict[str, float]


@dataclass(frozen=True)
class Settings:
    """What every contender is told.

    dataset: the folder of train.parquet; scratch: a folder for caches and runs.
    warmup_steps: before the first window; discarded_steps: at the start of each window, before the clock.
    """

    dataset: str
    scratch: str
    batch_size: int
    warmup_steps: int
    discarded_steps: int
    threads: int

    @property
    def learning_rate(self) -> float:
        return BASE_LEARNING_RATE * self.batch_size / 256


class Finished(Exception):
    """The parent wants no further window."""


class Gate:
    """Lets a stream of steps pass through measuring windows alone; the stream calls `step_done` after each step.

    waited: seconds for which the stream waited for data, kept by streams that know.
    """

    def __init__(self, pipe: Connection, settings: Settings) -> None:
        self.waited = 0.0
        self._pipe = pipe
        self._phases = self._run(settings)
        next(self._phases)

    def step_done(self) -> None:
        """Return at once inside a window, else block until the parent asks for another. Raises Finished."""
        next(self._phases)

    def _run(self, settings: Settings) -> Generator[None, None, None]:
        yield from _steps(settings.warmup_steps)
        self._pipe.send(_facts())
        while True:
            num_steps = self._next_order()
            yield from _steps(settings.discarded_steps)
            _synchronise()
            start, waited = time.perf_counter(), self.waited
            yield from _steps(num_steps)
            _synchronise()
            seconds = time.perf_counter() - start
            rate = num_steps * settings.batch_size / seconds
            self._pipe.send({"images_per_second": rate, "data_wait": (self.waited - waited) / seconds})

    def _next_order(self) -> int:
        with _data_workers_frozen():
            try:
                order: int | None = self._pipe.recv()
            except EOFError:
                order = None
        if order is None:
            raise Finished
        return order


def _steps(number: int) -> Iterator[None]:
    for _ in range(number):
        yield


@contextlib.contextmanager
def _data_workers_frozen() -> Iterator[None]:
    """Stops this process's data workers: else they would fill their queues for free, and on the cores of others."""
    workers = [worker.pid for worker in multiprocessing.active_children() if worker.pid is not None]
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    try:
        yield
    finally:
        for worker in workers:
            os.kill(worker, signal.SIGCONT)


def _facts() -> dict[str, Any]:
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"threads": torch.get_num_threads(), "gpu": gpu}


def _synchronise() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _stock_model() -> Any:
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    return ViTMAEForPreTraining(ViTMAEConfig(image_size=IMAGE_SIZE, **SIZES))


def bare(gate: Gate, settings: Settings) -> None:
    import torch

    torch.set_num_threads(settings.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = _stock_model().to(device).train()
    optimizer = torch.optim.AdamW(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=settings.learning_rate,
        betas=BETAS,
        weight_decay=WEIGHT_DECAY,
        fused=True,
    )
    pixel_values = torch.randn(settings.batch_size, 3, IMAGE_SIZE, IMAGE_SIZE, device=device)
    while True:
        model(pixel_values).loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        gate.step_done()


class RowTransform:
    """Rows of the Parquet file as `pixel_values`, cropped, mirrored and normalised one by one."""

    def __init__(self) -> None:
        from torchvision import transforms

        mean, std = [PIXEL_MEAN] * 3, [PIXEL_STD] * 3
        bicubic = transforms.InterpolationMode.BICUBIC
        self._transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(IMAGE_SIZE, scale=CROP_SCALE, interpolation=bicubic),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(mean, std),
            ]
        )

    def __call__(self, rows: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        return {"pixel_values": [self._transform(image) for image in rows["image"]]}


def stacked(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    import torch

    return {"pixel_values": torch.stack([row["pixel_values"] for row in rows])}


def trainer(gate: Gate, settings: Settings, *, num_workers: int) -> None:
    import torch
    from datasets import load_dataset
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class StepDone(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
            gate.step_done()

    torch.set_num_threads(settings.threads)
    rows = load_dataset("parquet", data_files=str(Path(settings.dataset) / "train.parquet"), split="train")
    rows.set_transform(RowTransform())
    arguments = TrainingArguments(
        output_dir=str(Path(settings.scratch) / f"trainer-{num_workers}"),
        max_steps=_ENDLESS,
        per_device_train_batch_size=settings.batch_size,
        dataloader_num_workers=num_workers,
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        optim="adamw_torch_fused",
        learning_rate=settings.learning_rate,
        weight_decay=WEIGHT_DECAY,
        adam_beta1=BETAS[0],
        adam_beta2=BETAS[1],
        max_grad_norm=0.0,
        lr_scheduler_type="cosine",
        warmup_steps=_ENDLESS // 20,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    run = Trainer(_stock_model(), arguments, data_collator=stacked, train_dataset=rows, callbacks=[StepDone()])
    run.train()


def ours(gate: Gate, settings: Settings) -> None:
    from hfssl.commands.pretrain import pretrain
    from hfssl.config.parse import parse
    from hfssl.data.images.config import ImageDataConfig
    from hfssl.methods.mae.config import MAEConfig
    from hfssl.methods.mae.objective import MAE
    from hfssl.training import loop
    from hfssl.training.report import Stopwatch

    class GatedStopwatch(Stopwatch):
        """The loop tells its stopwatch of every wait for data and of every step: all that the gate has to know."""

        def waiting_since(self, moment: float) -> None:
            super().waiting_since(moment)
            gate.waited += time.perf_counter() - moment

        def step_done(self) -> None:
            super().step_done()
            gate.step_done()

    with mock.patch.object(loop, "Stopwatch", GatedStopwatch):
        pretrain(MAE, parse(MAEConfig, ImageDataConfig, _recipe_flags(settings, "ours")))


def _recipe_flags(settings: Settings, name: str) -> list[str]:
    """Flags of recipes/mae.py for a run of the benchmark's model in a folder `name`."""
    scratch = Path(settings.scratch)
    sections = {
        "method": SIZES | {"crop_scale": CROP_SCALE},
        "data": {"image_size": IMAGE_SIZE, "pixel_mean": [PIXEL_MEAN], "pixel_std": [PIXEL_STD]},
        "optim": {
            "base_learning_rate": BASE_LEARNING_RATE,
            "weight_decay": WEIGHT_DECAY,
            "adam_beta1": BETAS[0],
            "adam_beta2": BETAS[1],
        },
        "loop": {"max_steps": _ENDLESS, "save_every": _ENDLESS, "global_batch_size": settings.batch_size},
    }
    config = scratch / "mae.yaml"
    config.write_text(json.dumps(sections), encoding="utf-8")  # JSON is YAML
    return ["--config", str(config), "--dataset", settings.dataset, "--output_dir", str(scratch / name)]


CONTENDERS: dict[str, Callable[[Gate, Settings], None]] = {
    "ours": ours,
    "bare": bare,
    "trainer 0": partial(trainer, num_workers=0),
    "trainer 2": partial(trainer, num_workers=2),
}


def _contend(name: str, settings: Settings, pipe: Connection) -> None:
    """A contender's process: steps through windows until the parent has enough."""
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.suppress(Finished),
    ):
        CONTENDERS[name](Gate(pipe, settings), settings)


class Contender:
    """The parent's view of a contender's process, warmed up and standing still."""

    def __init__(self, name: str, settings: Settings) -> None:
        context = multiprocessing.get_context("spawn")  # a fresh interpreter: nobody inherits another's imports
        self.name = name
        self._pipe, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(target=_contend, args=(name, settings, theirs), name=name)
        self._process.start()
        theirs.close()
        self.facts = self._receive()

    def measure(self, num_steps: int) -> Figures:
        self._pipe.send(num_steps)
        figures: Figures = self._receive()
        return figures

    def stop(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._pipe.send(None)
        self._process.join(30)
        if self._process.is_alive():
            self._process.kill()

    def _receive(self) -> Any:
        try:
            return self._pipe.recv()
        except EOFError:
            raise RuntimeError(f"the process of {self.name} has ended; its error stands above") from None


def measure_rounds(settings: Settings, num_rounds: int, num_steps: int) -> tuple[list[dict[str, Figures]], str | None]:
    """(the figures of each contender in each round, the GPU's name or None)."""
    contenders: list[Contender] = []
    try:
        for name in CONTENDERS:
            print(f"starting {name} ...", flush=True)
            contenders.append(Contender(name, settings))
        facts = [contender.facts for contender in contenders]
        if any(fact != facts[0] or fact["threads"] != settings.threads for fact in facts):
            raise RuntimeError(f"the contenders do not run alike: {facts}")
        rounds = []
        for number in range(num_rounds):
            first = number % len(contenders)
            figures = {c.name: c.measure(num_steps) for c in contenders[first:] + contenders[:first]}
            rounds.append({name: figures[name] for name in CONTENDERS})
            shown = "  ".join(f"{name} {figures[name]['images_per_second']:.0f}" for name in CONTENDERS)
            print(f"round {number + 1}/{num_rounds}  images/s  {shown}", flush=True)
        return rounds, facts[0]["gpu"]
    finally:
        for contender in contenders:
            contender.stop()


def summarise(rounds: Sequence[Mapping[str, Figures]]) -> dict[str, Any]:
    """Median rates, ratios of ours to the others against their goals, and our share of waiting for data."""
    rates = {name: [figures[name]["images_per_second"] for figures in rounds] for name in CONTENDERS}
    ratios = {}
    for other, goal in RATIO_GOALS.items():
        each = [mine / theirs for mine, theirs in zip(rates["ours"], rates[other], strict=True)]
        median = statistics.median(each)
        ratios[f"ours/{other}"] = {
            "median": median,
            "interval": bootstrap_interval(each),
            "goal": goal,
            "met": median >= goal,
        }
    return {
        "images_per_second": {name: statistics.median(values) for name, values in rates.items()},
        "ratios": ratios,
        "our_data_wait": statistics.median(figures["ours"]["data_wait"] for figures in rounds),
    }


def bootstrap_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % percentile interval of the median (Efron 1979), the same for the same values."""
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return medians[int(0.025 * RESAMPLES)], medians[int(0.975 * RESAMPLES) - 1]


def measure_start(settings: Settings) -> dict[str, Any]:
    """Seconds from a process's start to the end of ours' first step, of the imports alone, and of --help."""
    imports, first_steps, helps = [], [], []
    for repetition in range(START_REPETITIONS):
        imports.append(_seconds_until("done", [sys.executable, "-c", _IMPORTS]))
        flags = [*_recipe_flags(settings, f"start-{repetition}"), "--log_every", "1"]
        first_steps.append(_seconds_until("step ", [sys.executable, str(RECIPE), *flags]))
        start = time.perf_counter()
        subprocess.run([sys.executable, str(RECIPE), "--help"], check=True, stdout=subprocess.DEVNULL)
        helps.append(time.perf_counter() - start)
    after = statistics.median(first_steps) - statistics.median(imports)
    return {
        "seconds_to_first_step": first_steps,
        "seconds_of_imports": imports,
        "seconds_after_imports": {
            "median": after,
            "goal": MOST_SECONDS_AFTER_IMPORTS,
            "met": after <= MOST_SECONDS_AFTER_IMPORTS,
        },
        "seconds_of_help": {
            "all": helps,
            "median": statistics.median(helps),
            "goal": MOST_SECONDS_FOR_HELP,
            "met": statistics.median(helps) <= MOST_SECONDS_FOR_HELP,
        },
    }


def _seconds_until(beginning: str, command: Sequence[str]) -> float:
    """Seconds until `command` prints a line with this beginning; it is then killed."""
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(beginning):
                seconds = time.perf_counter() - start
                process.kill()
                return seconds
    raise RuntimeError(f"{Path(command[1]).name} ended before its line {beginning!r}; its error stands above")


def rate_lines(summary: Mapping[str, Any]) -> list[str]:
    lines = [f"{'contender':<18}{'images/s':>9}"]
    lines += [f"{name:<18}{rate:>9.0f}" for name, rate in summary["images_per_second"].items()]
    lines += ["", f"{'ratio':<18}{'median':>9}   {'95 % interval':<18}{'goal':>5}"]
    for name, ratio in summary["ratios"].items():
        low, high = ratio["interval"]
        interval = f"{low:.3f} to {high:.3f}"
        lines.append(f"{name:<18}{ratio['median']:>9.3f}   {interval:<18}{ratio['goal']:>5}  {_verdict(ratio)}")
    return [*lines, "", f"ours waits for data {summary['our_data_wait']:.1%} of the time"]


def start_lines(start: Mapping[str, Any]) -> list[str]:
    after, asked = start["seconds_after_imports"], start["seconds_of_help"]
    first, imports = (statistics.median(start[name]) for name in ("seconds_to_first_step", "seconds_of_imports"))
    return [
        f"first step  {first:.1f} s: imports {imports:.1f} s + {after['median']:.1f} s, goal {after['goal']}  {_verdict(after)}",
        f"--help      {asked['median']:.2f} s, goal {asked['goal']}  {_verdict(asked)}",
    ]


def _verdict(judged: Mapping[str, Any]) -> str:
    return "met" if judged["met"] else "missed"


def _circumstances(arguments: argparse.Namespace, settings: Settings, gpu: str | None) -> dict[str, Any]:
    """Command, versions, hardware and settings, without a path, host or user name."""
    from hfssl.training.start import cpu_name  # after the measurements: importing it costs seconds

    told = asdict(settings) | {"dataset": Path(settings.dataset).name, "steps": arguments.steps}
    del told["scratch"]
    flags = {"dataset": told["dataset"], "pairs": arguments.pairs, "steps": arguments.steps}
    flags |= {name: told[name] for name in ("warmup_steps", "discarded_steps", "batch_size")}
    command = ["python", "benchmarks/throughput.py"]
    for name, value in flags.items():
        command += [f"--{name}", str(value)]
    return {
        "command": shlex.join(command),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in _PACKAGES},
        "hardware": {"cpu": cpu_name(), "cores": settings.threads, "gpu": gpu},
        "settings": told | {"image_size": IMAGE_SIZE, "precision": "float32", "optimizer": "AdamW, fused"} | SIZES,
    }


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, type=Path, metavar="PATH", help="folder with train.parquet")
    parser.add_argument("--output", default=RESULTS, type=Path, metavar="FILE", help="JSON file of all figures")
    parser.add_argument("--pairs", default=9, type=int, metavar="N", help="rounds [9]")
    parser.add_argument("--steps", default=40, type=int, metavar="N", help="measured steps of a window [40]")
    parser.add_argument("--warmup_steps", default=10, type=int, metavar="N", help="steps before the first window [10]")
    parser.add_argument(
        "--discarded_steps", default=5, type=int, metavar="N", help="unmeasured first steps of a window [5]"
    )
    parser.add_argument("--batch_size", default=128, type=int, metavar="N", help="images a step [128]")
    arguments = parser.parse_args()
    if not (arguments.dataset / "train.parquet").is_file():
        parser.error(f"--dataset {arguments.dataset} holds no train.parquet")
    if min(arguments.pairs, arguments.steps, arguments.warmup_steps, arguments.batch_size) < 1:
        parser.error("--pairs, --steps, --warmup_steps and --batch_size must be at least 1")
    return arguments


def _set_environment(scratch: str) -> None:
    """For all processes to come: own caches, quiet, no network, one GPU (Trainer would split its batches over several)."""
    os.environ["HFSSL_CACHE"] = str(Path(scratch) / "images")
    os.environ["HF_DATASETS_CACHE"] = str(Path(scratch) / "datasets")
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")


def main() -> None:
    arguments = _parsed()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[0]
    if load > _BUSY_LOAD:
        print(f"others use this machine (load {load:.1f}): expect low rates and wide intervals", flush=True)
    with tempfile.TemporaryDirectory(prefix="throughput-") as scratch:
        _set_environment(scratch)
        settings = Settings(
            dataset=str(arguments.dataset.resolve()),
            scratch=scratch,
            batch_size=arguments.batch_size,
            warmup_steps=arguments.warmup_steps,
            discarded_steps=arguments.discarded_steps,
            threads=cores,
        )
        rounds, gpu = measure_rounds(settings, arguments.pairs, arguments.steps)
        summary = summarise(rounds)
        print("", *rate_lines(summary), "", sep="\n", flush=True)
        start = measure_start(settings)
        print(*start_lines(start), sep="\n")
        report = _circumstances(arguments, settings, gpu) | {"load_before": load} | summary
        report |= {"start": start, "rounds": rounds}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"written to {arguments.output}")


if __name__ == "__main__":
    main()
