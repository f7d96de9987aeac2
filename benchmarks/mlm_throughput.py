"""Tokens a second and memory of masked language modelling, ours beside transformers' Trainer with its collator.

    python benchmarks/mlm_throughput.py --dataset path/to/texts --text_column text --rounds 3

BERT of width 256, 4 layers, dropout 0.1, a WordPiece vocabulary of 16,000, rows of 128 tokens, 32 a step, float32, fused AdamW.
The Trainer gets rows as transformers' masked example makes them: all texts on one tape, cut every 128 tokens, so that neither
side has padding to speak of; only tokens that are no padding count. Each side runs in a process of its own, in turns: 20 steps
to warm up, then the median of 20; memory is the most that lay in RAM during these steps, less what did once model and rows
were built. Writes benchmarks/results/mlm_throughput.json.
"""

import argparse
import ctypes
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).resolve().parent / "results"
LENGTH, BATCH, WARM_UP, MEASURED = 128, 32, 20, 20
FLAGS = ["--config", "demo", "--hidden_size", "256", "--num_hidden_layers", "4", "--num_attention_heads", "4"]
FLAGS += ["--dropout", "0.1", "--vocab_size", "16000", "--global_batch_size", str(BATCH), "--validation_share", "0"]
SIDES = ("hfssl", "trainer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--text_column", default="text")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--side", choices=SIDES, help="measure one side and print it (for the processes started here)")
    arguments = parser.parse_args()
    if arguments.side is not None:
        torch.set_num_threads(arguments.threads)
        print(json.dumps((hfssl if arguments.side == "hfssl" else trainer)(arguments)))
        return
    rounds = []
    for index in range(arguments.rounds + 1):
        measured = {side: in_process(side) for side in SIDES}
        if index > 0:  # the first round trains the tokenizer and fills the caches
            rounds.append(measured | ratios(measured))
            print(rounds[-1], flush=True)
    write(arguments, rounds)


def in_process(side: str) -> dict[str, Any]:
    """One side's figures, by a process that does nothing else."""
    command = [sys.executable, __file__, *sys.argv[1:], "--side", side]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def ratios(measured: dict[str, dict[str, Any]]) -> dict[str, float]:
    ours, stock = (measured[side] for side in SIDES)
    return {
        "tokens_a_second": ours["tokens_a_second"] / stock["tokens_a_second"],
        "memory": ours["peak_over_baseline_bytes"] / stock["peak_over_baseline_bytes"],
    }


def write(arguments: argparse.Namespace, rounds: list[dict[str, Any]]) -> None:
    from hfssl.training.start import cpu_name, versions

    own = ["--dataset", "path/to/texts", "--rounds", str(arguments.rounds), "--threads", str(arguments.threads)]
    result = {
        "command": f"python benchmarks/mlm_throughput.py {shlex.join(own)}",
        "data": Path(arguments.dataset).name,
        "versions": versions(),
        "cpu": cpu_name(),
        "threads": arguments.threads,
        "median_ratios": {
            name: statistics.median(entry[name] for entry in rounds) for name in ("tokens_a_second", "memory")
        },
        "rounds": rounds,
    }
    (RESULTS / "mlm_throughput.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


class Meter:
    """Ends of steps, and memory from the end of the first one on: the baseline is taken when it is made."""

    def __init__(self) -> None:
        ctypes.CDLL(None).malloc_trim(0)  # what building left behind is not part of the baseline
        self.baseline = resident("VmRSS")
        self.ends: list[float] = []
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak counts from here

    def step_done(self) -> None:
        self.ends.append(time.perf_counter())

    def figures(self, tokens_a_step: float) -> dict[str, float]:
        seconds = [after - before for before, after in zip(self.ends[WARM_UP - 1 :], self.ends[WARM_UP:], strict=False)]
        return {
            "tokens_a_second": tokens_a_step / statistics.median(seconds),
            "peak_over_baseline_bytes": resident("VmHWM") - self.baseline,
        }


def resident(name: str) -> int:
    """Bytes of this process in RAM: VmRSS now, VmHWM at the most."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024


def opened(arguments: argparse.Namespace, folder: str) -> Any:
    """Our session: data, tokenizer and model of both sides."""
    from hfssl.config.parse import parse
    from hfssl.data.texts.config import TextDataConfig
    from hfssl.methods.mlm.config import MLMConfig
    from hfssl.methods.mlm.objective import MLM
    from hfssl.run_dir import RunDir
    from hfssl.runs.context import RunContext
    from hfssl.runs.open_session import open_session
    from hfssl.training.accelerator import start
    from hfssl.training.start import Start

    data = ["--dataset", arguments.dataset, "--text_column", arguments.text_column]
    run = parse(
        MLMConfig, TextDataConfig, [*FLAGS, *data, "--max_steps", "1000", "--cpu_threads", str(arguments.threads)]
    )
    session, _ = open_session(
        RunContext(MLM, run, None, start(run.loop)), Start(RunDir(Path(folder)), None, []), verbose=False
    )
    return session


def hfssl(arguments: argparse.Namespace) -> dict[str, float]:
    from hfssl.training.loop import prepare, steps_of_batches
    from hfssl.training.report import Stopwatch
    from hfssl.training.step import train_step

    with tempfile.TemporaryDirectory() as scratch:
        session = opened(arguments, scratch)
    meter, tokens = Meter(), []
    parts = prepare(session)
    session.objective.train()
    batches = steps_of_batches(session, Stopwatch("rows"))
    for step in range(WARM_UP + MEASURED):
        micro_batches = next(batches)
        train_step(parts, micro_batches, step=step, progress=step / 1000, stop=False)
        meter.step_done()
        tokens.append(sum(int((batch["segments"] > 0).sum()) for batch in micro_batches))
    return meter.figures(statistics.fmean(tokens))


def trainer(arguments: argparse.Namespace) -> dict[str, float]:
    from datasets import Dataset
    from transformers import (
        BertForMaskedLM,
        DataCollatorForLanguageModeling,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    class Clock(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            self.meter = Meter()

        def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
            self.meter.step_done()

    with tempfile.TemporaryDirectory() as scratch:
        session = opened(arguments, scratch)
        tokens, config, tokenizer = (
            session.rows.examples.tokens,
            session.objective.model.config,
            session.rows.pipeline.processor,
        )
        tape = torch.from_numpy(tokens.ids[: (WARM_UP + MEASURED + 2) * BATCH * LENGTH].astype("int64")).view(
            -1, LENGTH
        )
        del session
        clock = Clock()
        Trainer(
            model=BertForMaskedLM(config),
            args=TrainingArguments(
                output_dir=scratch,
                per_device_train_batch_size=BATCH,
                max_steps=WARM_UP + MEASURED,
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
                use_cpu=True,
            ),
            train_dataset=Dataset.from_dict({"input_ids": tape.tolist()}),
            data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15),
            callbacks=[clock],
        ).train()
    return clock.meter.figures(BATCH * LENGTH)


if __name__ == "__main__":
    main()
