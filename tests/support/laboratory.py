"""Small sessions of any method, for the laws: the real code on tiny models and 40 real digits, a few texts or recordings."""

import dataclasses
import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from datasets import Audio, ClassLabel, Dataset, Features, Value
from scipy.signal import lfilter
from torch import Tensor

from hfssl import catalog
from hfssl.config.parse import make_run
from hfssl.config.run_config import RunConfig
from hfssl.config.sections import LoopConfig, MethodConfig, OptimConfig
from hfssl.data.demo.sets import digits
from hfssl.data.loader import micro_batches
from hfssl.data.source import Source
from hfssl.objective import Batch, Objective
from hfssl.randomness import random_bits
from hfssl.run_dir import RunDir
from hfssl.runs import open_session as session
from hfssl.runs.context import RunContext
from hfssl.runs.validation import open_monitor
from hfssl.training.accelerator import start
from hfssl.training.loop import Session, prepare
from hfssl.training.start import Start
from hfssl.training.step import StepContext
from tests.support.toy import Toy, ToyConfig

NUM_ROWS = 40
_RATE = 16_000
METHODS = catalog.method_names()


def classes(name: str) -> tuple[type[MethodConfig], type[Objective]]:
    return (ToyConfig, Toy) if name == "toy" else catalog.method(name)


def run_of(name: str, folder: Path, method: dict[str, Any] | None = None, **loop: Any) -> RunConfig:
    """A tiny run of a method; keywords go to LoopConfig."""
    config_class, objective_class = classes(name)
    data = catalog.DATA_CONFIGS[objective_class.modality].tiny()
    settings: dict[str, Any] = {"output_dir": str(folder), "max_steps": 8, "global_batch_size": 8, "log_every": 2}
    settings |= {"save_every": 100, "cpu_threads": 1} | loop
    config = dataclasses.replace(config_class.tiny(), **(method or {}))
    optim = OptimConfig(base_learning_rate=0.05, warmup_fraction=0.2)
    return make_run(config, data, optim, LoopConfig(**settings))


@functools.cache
def few_rows(num_rows: int = NUM_ROWS) -> Source:
    """The first digits, without a held-out split."""
    rows = digits()["train"].select(range(num_rows))
    from datasets import Image

    rows = rows.cast_column("image", Image(decode=False))
    rows._fingerprint = f"few-digits-{num_rows}"
    return Source("demo:digits", "train", rows, "image", "label", None, rows)


def use_few_rows(num_rows: int = NUM_ROWS) -> None:
    """Let sessions of this process open `few_rows`, `few_texts` and `few_recordings`."""
    session.OPENERS["image"] = lambda data: few_rows(num_rows)
    session.OPENERS["text"] = lambda data: few_texts()
    session.OPENERS["audio"] = lambda data: few_recordings()


@functools.cache
def few_texts(start: int = 0, count: int = 32) -> Source:
    """Made-up documents of 8 to 60 words, two kinds of them, without a held-out split."""
    words = ("the cat sat on a mat while dogs ran far", "prices rose as banks sold old gold and new bonds")
    texts, labels = [], []
    for row in range(start, start + count):
        generator = np.random.default_rng(row)
        chosen = generator.choice(words[row % 2].split(), generator.integers(4, 60))
        texts.append(" ".join(chosen) + ".")
        labels.append(row % 2)
    features = Features({"text": Value("string"), "label": ClassLabel(names=["pets", "money"])})
    rows = Dataset.from_dict({"text": texts, "label": labels}, features=features)
    rows._fingerprint = f"few-texts-{start}-{count}"
    return Source("demo:pydocs", "train", rows, "text", "label", None, rows)


@functools.cache
def few_recordings(start: int = 0, count: int = 90) -> Source:
    """Hummed and hissed utterances of 0.5 to 1 s that change on the way, without a held-out split; 42 rows if all."""
    recordings, labels = [], []
    for row in range(start, start + count):
        buffer = io.BytesIO()
        soundfile.write(buffer, _utterance(row), _RATE, format="WAV", subtype="PCM_16")
        recordings.append({"bytes": buffer.getvalue(), "path": None})
        labels.append(row % 2)
    struct = {"bytes": Value("binary"), "path": Value("string")}
    features = Features({"audio": struct, "label": ClassLabel(names=["hummed", "hissed"])})
    rows = Dataset.from_dict({"audio": recordings, "label": labels}, features=features)
    rows = rows.cast_column("audio", Audio(decode=False))
    rows._fingerprint = f"few-recordings-{start}-{count}"
    return Source("demo:vowels", "train", rows, "audio", "label", None, rows)


def _utterance(row: int) -> "np.ndarray[Any, Any]":
    """(T,) in (-1, 1): pulses or noise through resonators, each for 60 ms."""
    generator = np.random.default_rng(row)
    length = generator.integers(_RATE // 2, _RATE)
    source = 0.1 * generator.standard_normal(length)
    if row % 2 == 0:
        source[:: generator.integers(60, 160)] += 1.0
    pieces = []
    for piece in np.split(source, range(960, length, 960)):
        angle = 2 * np.pi * generator.uniform(200, 4000) / _RATE
        pieces.append(lfilter([1.0], [1.0, -1.9 * np.cos(angle), 0.95**2], piece))
    sound = np.concatenate(pieces)
    return 0.5 * sound / np.abs(sound).max()


@functools.cache
def few_rows_with_test() -> Source:
    """`few_rows`, and 24 digits of the test split to watch a run on."""
    others = dataclasses.replace(few_rows(64).part(np.arange(40, 64)), split="test")
    return dataclasses.replace(few_rows(), test=others, validation=others)


@functools.cache
def few_texts_with_test() -> Source:
    """`few_texts`, and 24 other documents to watch a run on."""
    others = dataclasses.replace(few_texts(100, 24), split="test")
    return dataclasses.replace(few_texts(), test=others, validation=others)


@functools.cache
def few_recordings_with_test() -> Source:
    """`few_recordings`, and 24 other utterances to watch a run on."""
    others = dataclasses.replace(few_recordings(100, 24), split="test")
    return dataclasses.replace(few_recordings(), test=others, validation=others)


WITH_TEST = {
    "image": few_rows_with_test,
    "text": few_texts_with_test,
    "audio": few_recordings_with_test,
}


def validation(opened: Session) -> Session:
    """`opened` with a monitor on rows that it does not train on."""
    opened.monitor = open_monitor(WITH_TEST[opened.objective.modality](), opened.rows)
    assert opened.monitor is not None
    return opened


def open_small(
    name: str, folder: Path, started: Start | None = None, method: dict[str, Any] | None = None, **loop: Any
) -> Session:
    """A session of a tiny run, as pretraining opens it."""
    use_few_rows()
    run = run_of(name, folder, method, **loop)
    started = started or Start(RunDir(folder), None, [])
    opened, _ = session.open_session(RunContext(classes(name)[1], run, None, start(run.loop)), started)
    return opened


def steps_of(opened: Session, num_steps: int) -> list[list[Batch]]:
    """The first micro-batches of this rank, a list for each step."""
    stream = micro_batches(
        opened.rows, opened.layout, start_step=0, max_steps=num_steps, num_workers=0, pin_memory=False
    )
    batches = []
    for _ in range(num_steps):
        batches.append([next(stream) for _ in range(opened.layout.num_micro_batches)])
        for batch in batches[-1]:
            del batch["bad_ids"]
    return batches


def ready(opened: Session, dtype: torch.dtype = torch.float32) -> StepContext:
    """What train_step works on, in training mode; in float64 the augmented batch is widened too."""
    opened.objective.to(dtype)
    parts = prepare(opened)
    opened.objective.train()
    if dtype == torch.float64:
        parts.augment = widened(parts.augment)
    return parts


def widened(augment: Callable[[Batch, float], Batch]) -> Callable[[Batch, float], Batch]:
    """The augmentation sample by sample, then in float64: its float32 rounding depends on the size of a batch. Windows of
    audio go through it together."""

    def augment_wide(batch: Batch, progress: float) -> Batch:
        num_rows = len(batch["sample_ids"])
        rows = [batch]
        if "window_keys" not in batch:
            rows = [{name: tensor[row : row + 1] for name, tensor in batch.items()} for row in range(num_rows)]
        rows = [augment(row, progress) for row in rows]
        joined = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
        return {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in joined.items()}

    return augment_wide


def drawn_for(batch: Batch, row: int) -> list[int]:
    """A sum for each tensor of what a batch holds for a row, exact and blind to zeros at the end."""
    places = torch.tensor([row])
    if "window_keys" in batch:  # several windows a row
        keys_N = batch["window_keys"]
        places = torch.isin(keys_N, random_bits(batch["keys"][row : row + 1], "window", len(keys_N))).nonzero()[:, 0]
    sums = []
    for name, tensor in sorted(batch.items()):
        own = tensor[[row] if name in ("keys", "sample_ids") else places]
        sums.append(int((own.view(torch.int32) if own.dtype == torch.float32 else own).to(torch.int64).sum()))
    return sums


def record_gradients(objective: Objective) -> dict[str, Tensor]:
    """A dictionary that the next step fills with the joint, scaled gradients."""
    seen: dict[str, Tensor] = {}
    original = objective.on_gradients_ready

    def on_gradients_ready(progress: float) -> None:
        seen.update({name: p.grad.clone() for name, p in objective.named_parameters() if p.grad is not None})
        original(progress)

    objective.on_gradients_ready = on_gradients_ready  # type: ignore[method-assign]
    return seen


def state_of(parts: StepContext) -> dict[str, Tensor]:
    """Every tensor of the objective and the optimizer, copied."""
    tensors = {name: tensor.clone() for name, tensor in parts.objective.state_dict().items()}
    for index, moments in enumerate(parts.optimizer.state.values()):
        tensors |= {f"optimizer.{index}.{name}": value.clone() for name, value in moments.items()}
    return tensors


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    """Names that are not bitwise equal, or that only one has."""
    return sorted(
        name
        for name in one.keys() | other.keys()
        if name not in one or name not in other or not torch.equal(one[name], other[name])
    )


def relative_error(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Norm of the difference over the norm, all tensors joined."""
    assert one.keys() == other.keys()
    first = torch.cat([one[name].flatten().double() for name in sorted(one)])
    second = torch.cat([other[name].flatten().double() for name in sorted(other)])
    return float((first - second).norm() / first.norm())
