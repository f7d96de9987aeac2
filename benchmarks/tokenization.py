"""How fast texts become packed rows: seconds and megabytes a second of tokenizing and packing, and the memory they take.

    python benchmarks/tokenization.py --dataset path/to/texts --megabytes 100

The texts of PATH (anything that `--dataset` takes; by default demo:pydocs) are cut into sentences, and these are drawn
anew into as many megabytes of distinct documents. A WordPiece tokenizer is trained on the texts as they are. In every
round a fresh process then fills the token cache and plans the rows, with an empty cache each. Memory is the growth of what
the process itself holds (Linux: RssAnon, looked at 100 times a second), without pages of mapped files. Writes
benchmarks/results/tokenization.json. Not called tokenize.py, which would stand before Python's own module of that name.
"""

import argparse
import importlib.metadata
import json
import multiprocessing
import os
import re
import shlex
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results" / "tokenization.json"
FEWEST_SENTENCES, MOST_SENTENCES = 1, 40
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_SAMPLE_SECONDS = 0.01


def main() -> None:
    arguments = _parsed()
    with tempfile.TemporaryDirectory(prefix="tokenization-") as scratch:
        os.environ["HFSSL_CACHE"] = str(Path(scratch) / "texts")
        os.environ["HF_DATASETS_CACHE"] = str(Path(scratch) / "datasets")
        os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
        os.environ["TOKENIZERS_PARALLELISM"] = "true"
        facts = prepare(arguments, Path(scratch))
        load = os.getloadavg()[0]
        rounds = []
        for number in range(arguments.rounds):
            rounds.append(_in_a_fresh_process(scratch, arguments, number))
            print(f"round {number + 1}/{arguments.rounds}  {_shown(rounds[-1])}", flush=True)
    middle = {name: statistics.median(figures[name] for figures in rounds) for name in rounds[0]}
    report = _circumstances(arguments) | {"load_before": load} | facts | {"median": middle, "rounds": rounds}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"median     {_shown(middle)}\nwritten to {arguments.output}")


def prepare(arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Write the texts as `texts.txt`, a document a line, and the tokenizer as `tokenizer`; what they are like."""
    from hfssl.data.texts.config import TextDataConfig
    from hfssl.data.texts.rows import texts
    from hfssl.data.texts.source import open_texts
    from hfssl.data.texts.tokenizer import train_tokenizer

    source = open_texts(TextDataConfig(dataset=arguments.dataset, text_column=arguments.text_column))
    tokenizer = train_tokenizer(texts(source), "wordpiece", arguments.vocab_size, False)
    tokenizer.save_pretrained(scratch / "tokenizer")
    sentences = [s for text in texts(source) for s in _SENTENCE_END.split(" ".join(text.split())) if s]
    written = documents = 0
    with (scratch / "texts.txt").open("w", encoding="utf-8") as file:
        for document in recombined(sentences):
            written += len(document.encode()) + 1
            documents += 1
            file.write(document + "\n")
            if written >= arguments.megabytes * 1e6:
                break
    return {"megabytes": written / 1e6, "documents": documents, "vocab_size": len(tokenizer)}


def recombined(sentences: list[str]) -> Iterator[str]:
    """Endless documents of sentences drawn with the key of the document's number."""
    from hfssl.randomness import combine

    number = 0
    while True:
        number += 1
        count = FEWEST_SENTENCES + combine(number, 0) % (MOST_SENTENCES - FEWEST_SENTENCES + 1)
        yield " ".join(sentences[combine(number, place) % len(sentences)] for place in range(1, count + 1))


class AlarmHistory(threading.Thread):
    """The largest memory of its own that this process held since `start`, in megabytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.before = self.peak = _own_megabytes()
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            self.peak = max(self.peak, _own_megabytes())

    def growth(self) -> float:
        self._ended.set()
        self.join()
        return self.peak - self.before


def _own_megabytes() -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def measure(scratch: str, max_length: int, number: int, results: "multiprocessing.Queue[dict[str, float]]") -> None:
    """One round: texts opened before the clock, then tokenized, then packed."""
    os.environ["HFSSL_CACHE"] = f"{scratch}/round-{number}"
    from hfssl.data.texts.config import TextDataConfig
    from hfssl.data.texts.packing import packing_plan
    from hfssl.data.texts.source import open_texts
    from hfssl.data.texts.token_cache import tokens_of
    from hfssl.data.texts.tokenizer import open_tokenizer

    data = TextDataConfig(
        dataset=f"{scratch}/texts.txt", text_unit="line", tokenizer=f"{scratch}/tokenizer", validation_share=0.0
    )
    source = open_texts(data)
    tokenizer = open_tokenizer(data, source)
    memory = AlarmHistory()
    memory.start()
    start = time.perf_counter()
    tokens = tokens_of(source, tokenizer)
    tokenized = time.perf_counter()
    plan = packing_plan(tokens, capacity=max_length, per_piece=2)
    packed = time.perf_counter()
    megabytes = Path(scratch, "texts.txt").stat().st_size / 1e6
    results.put(
        {
            "seconds_tokenizing": tokenized - start,
            "seconds_packing": packed - tokenized,
            "megabytes_per_second": megabytes / (packed - start),
            "megabytes_of_memory": memory.growth(),
            "tokens": len(tokens.ids),
            "rows": len(plan),
            "share_filled": float((plan.lengths.sum() + 2 * len(plan.lengths)) / (len(plan) * max_length)),
        }
    )


def _in_a_fresh_process(scratch: str, arguments: argparse.Namespace, number: int) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=measure, args=(scratch, arguments.max_length, number, results))
    process.start()
    figures: dict[str, float] = results.get()
    process.join()
    return figures


def _shown(figures: dict[str, float]) -> str:
    return (
        f"tokenized in {figures['seconds_tokenizing']:.1f} s, packed in {figures['seconds_packing']:.2f} s: "
        f"{figures['megabytes_per_second']:.1f} MB/s, {figures['megabytes_of_memory']:.0f} MB of memory, "
        f"rows {figures['share_filled']:.1%} full"
    )


def _circumstances(arguments: argparse.Namespace) -> dict[str, Any]:
    """Command, versions and hardware, without a path, host or user name."""
    from hfssl.training.start import cpu_name, versions

    told = {"dataset": arguments.dataset if ":" in arguments.dataset else Path(arguments.dataset).name}
    told |= {} if arguments.text_column is None else {"text_column": arguments.text_column}
    told |= {name: getattr(arguments, name) for name in ("megabytes", "vocab_size", "max_length", "rounds")}
    flags = [word for name, value in told.items() for word in (f"--{name}", str(value))]
    return {
        "command": shlex.join(["python", "benchmarks/tokenization.py", *flags]),
        "versions": versions() | {"tokenizers": importlib.metadata.version("tokenizers")},
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
    }


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="demo:pydocs", help="texts to recombine [demo:pydocs]")
    parser.add_argument("--text_column", default=None, help="their column, where there are several")
    parser.add_argument("--megabytes", default=100, type=int, help="text to make [100]")
    parser.add_argument("--vocab_size", default=16_000, type=int, help="tokens of the tokenizer [16000]")
    parser.add_argument("--max_length", default=128, type=int, help="tokens of a row [128]")
    parser.add_argument("--rounds", default=3, type=int, help="rounds [3]")
    parser.add_argument("--output", default=RESULTS, type=Path, help="JSON file of all figures")
    return parser.parse_args()


if __name__ == "__main__":
    main()
