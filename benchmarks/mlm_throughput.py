"""Tokens a second of masked language modelling, ours beside transformers' Trainer with its collator, on one model and one text.

    python benchmarks/mlm_throughput.py --dataset path/to/texts --rounds 2

BERT of width 256, 4 layers, a WordPiece vocabulary of 16,000, rows of 128 tokens, 32 a step, float32. The Trainer gets rows as
its masked example makes them: all texts on one tape, cut every 128 tokens, so that neither side has padding to speak of.
Both sides in one process, interleaved, after warm-up steps; seconds by the clock. Writes benchmarks/results/mlm_throughput.json.
"""

import argparse
import json
import shlex
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    BertForMaskedLM,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from hfssl.config import parse
from hfssl.data.text_config import TextDataConfig
from hfssl.methods.mlm import MLM
from hfssl.methods.mlm_config import MLMConfig
from hfssl.planning import measured_copy
from hfssl.training.accelerator import start
from hfssl.training.start import cpu_name, versions

RESULTS = Path(__file__).resolve().parent / "results"
LENGTH, BATCH, WARM_UP, MEASURED = 128, 32, 5, 10
FLAGS = ["--config", "demo", "--hidden_size", "256", "--num_hidden_layers", "4", "--num_attention_heads", "4"]
FLAGS += ["--dropout", "0.1", "--vocab_size", "16000", "--global_batch_size", str(BATCH), "--held_out_share", "0"]


class Clock(TrainerCallback):
    """The time at which each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self.ends.append(time.perf_counter())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    run = parse(MLMConfig, TextDataConfig, [*FLAGS, "--dataset", arguments.dataset])
    accelerator = start(run.loop)
    rounds = []
    for _ in range(arguments.rounds):
        measured, session = measured_copy(MLM, run, None, accelerator, num_steps=WARM_UP + MEASURED)
        rows = session.rows.examples
        filled = statistics.fmean(len(rows[index].input_ids) for index in range(min(500, len(rows)))) / LENGTH
        ours = filled * BATCH * LENGTH / measured.seconds_a_step
        stock = BATCH * LENGTH / stock_seconds_a_step(session)
        rounds.append({"hfssl": ours, "trainer": stock, "ratio": ours / stock, "filled": filled})
        print(rounds[-1], flush=True)
    result = {
        "command": f"python {shlex.join(['benchmarks/mlm_throughput.py', '--dataset', 'path/to/texts', *sys.argv[3:]])}",
        "versions": versions(),
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "median_ratio": statistics.median(entry["ratio"] for entry in rounds),
        "rounds": rounds,
    }
    (RESULTS / "mlm_throughput.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def stock_seconds_a_step(session: Any) -> float:
    """Median seconds of the Trainer's steps after warm-up, on the same tokens, tokenizer and model configuration."""
    tokens = session.rows.examples.tokens
    tape = torch.from_numpy(tokens.ids[: (WARM_UP + MEASURED + 2) * BATCH * LENGTH].astype("int64")).view(-1, LENGTH)
    rows = Dataset.from_dict({"input_ids": tape.tolist()})
    clock = Clock()
    with tempfile.TemporaryDirectory() as scratch:
        trainer = Trainer(
            model=BertForMaskedLM(session.objective.model.config),
            args=TrainingArguments(
                output_dir=scratch,
                per_device_train_batch_size=BATCH,
                max_steps=WARM_UP + MEASURED,
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
                use_cpu=True,
            ),
            train_dataset=rows,
            data_collator=DataCollatorForLanguageModeling(session.rows.spec.processor, mlm_probability=0.15),
            callbacks=[clock],
        )
        trainer.train()
    seconds = [after - before for before, after in zip(clock.ends[WARM_UP - 1 :], clock.ends[WARM_UP:], strict=False)]
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
