"""Frozen features, computed once: what the head of a classifier reads, a row a sample, in memory and on disk.

N rows, B samples; what a head reads has the same shape for every sample.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from hfssl.data.cache_folder import cache_root, is_sealed, made_once, seal
from hfssl.data.labels import Labelled
from hfssl.data.source import Source
from hfssl.objective import Array, BadRowError, Batch, DataPipeline, Examples, Saves
from hfssl.randomness import sample_keys

Encode = Callable[[Batch], Tensor]
_BLOCK = 64
_FORMAT = 1
_INPUTS, _GOOD = "inputs.npy", "good.npy"


class StoredInputs:
    """The head's inputs of each row, (N, ...) float32, and which rows could be read."""

    def __init__(self, folder: Path) -> None:
        self.inputs = np.load(folder / _INPUTS, mmap_mode="r")
        self.good_N = np.load(folder / _GOOD)

    def __len__(self) -> int:
        return len(self.good_N)

    def __getitem__(self, index: int) -> Tensor:
        """Raises BadRowError."""
        if not self.good_N[index]:
            raise BadRowError("it cannot be read")
        return torch.from_numpy(np.array(self.inputs[index]))


class LabelledPipeline(Protocol):
    """The part of a classification task's own data path that frozen features are made and counted with."""

    @property
    def processor(self) -> Saves: ...

    @property
    def counts_C(self) -> Array: ...

    @property
    def class_names(self) -> list[str] | None: ...

    def prepare(self, source: Source) -> Labelled: ...

    def eval_transform(self, examples: Sequence[Any], first: int = 0) -> Batch: ...


@runtime_checkable
class Shows(Protocol):
    """The part of a task's data path that shows people an example, as a picture or in words."""

    def shown(self, example: Any) -> str | Tensor: ...


Whole = TypeVar("Whole", bound=LabelledPipeline)


class HeadInputsPipeline(DataPipeline, Generic[Whole]):
    """Batches of `head_inputs` (B, ...) float32 and `labels` (B,), for a task whose body does not change.

    whole: the task's own data path, whose `eval_transform` the body sees: no chance, no augmentation.
    encode: a batch of it, on `device`, to the head's inputs; about: what they depend on in addition to the rows.
    """

    def __init__(self, whole: Whole, encode: Encode, device: torch.device, about: str) -> None:
        self.whole = whole
        self.processor = whole.processor
        self._encode = encode
        self._device = device
        self._about = about

    @property
    def wants_workers(self) -> bool:
        return False

    @property
    def class_names(self) -> list[str]:
        names = self.whole.class_names
        assert names is not None, "asked of classes only"
        return names

    @property
    def counts_C(self) -> Array:
        return self.whole.counts_C

    def prepare(self, source: Source) -> Labelled:
        """The rows' inputs, from the cache or computed now."""
        examples = self.whole.prepare(source)
        about = f"{source.fingerprint()} {self._about} v{_FORMAT}"
        folder = cache_root("head_inputs") / hashlib.sha256(about.encode()).hexdigest()[:24]
        made_once(folder, is_sealed, partial(self._write, examples=examples))
        return Labelled(StoredInputs(folder), examples.numbers_N)

    def _write(self, folder: Path, examples: Examples) -> None:
        good_N = np.zeros(len(examples), dtype=bool)
        inputs = None
        for start in range(0, len(examples), _BLOCK):
            block = []
            for row in range(start, min(start + _BLOCK, len(examples))):
                try:
                    block.append((row, examples[row]))
                except BadRowError:
                    continue
            if not block:
                continue
            batch = self.whole.eval_transform([example for _, example in block])
            found = (
                self._encode({name: tensor.to(self._device) for name, tensor in batch.items()}).float().cpu().numpy()
            )
            if inputs is None:
                inputs = np.lib.format.open_memmap(
                    folder / _INPUTS, mode="w+", dtype=np.float32, shape=(len(examples), *found.shape[1:])
                )
            rows = [row for row, _ in block]
            inputs[rows], good_N[rows] = found, True
        if inputs is None:
            raise BadRowError("none of the rows can be read")
        inputs.flush()
        np.save(folder / _GOOD, good_N)
        seal(folder)

    def transform(self, example: tuple[Tensor, int], key: Tensor) -> tuple[Tensor, int]:
        return example

    def collate(self, examples: Sequence[tuple[Tensor, int]], keys_B: Tensor) -> Batch:
        inputs, numbers = zip(*examples, strict=True)
        return {"head_inputs": torch.stack(inputs), "labels": torch.tensor(numbers)}

    def eval_transform(self, examples: Sequence[tuple[Tensor, int]], first: int = 0) -> Batch:
        ids_B = torch.arange(first, first + len(examples))
        keys_B = sample_keys(0, torch.full_like(ids_B, -1), ids_B)
        return self.collate(examples, keys_B) | {"sample_ids": ids_B, "keys": keys_B}


def content_of(module: torch.nn.Module) -> str:
    """A short name of all weights of a module."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
