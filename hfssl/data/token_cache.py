"""Documents as tokens: each tokenized once, without special tokens, into files that are mapped into memory.

N documents. Whether a token begins a word, as the tokenizer's own first step splits text, stands beside it.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hfssl.config import require
from hfssl.data.cache_folder import cache_root, made_once
from hfssl.data.packing import Plan, plan_of
from hfssl.data.source import Source
from hfssl.data.text_rows import texts
from hfssl.run_dir import write_text

Array = np.ndarray[Any, Any]
FORMAT = 1
_BATCH_CHARACTERS = 2_000_000
_LONGEST_PIECE = 100_000  # characters that the tokenizer is given at once


class CachedTokens:
    """Tokens of all documents, read from a cache folder that `tokens_of` made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        self._ids: Array = np.memmap(folder / "ids.bin", dtype=facts["dtype"], mode="r")
        self._starts: Array = np.memmap(folder / "word_starts.bin", dtype=np.bool_, mode="r")
        self._offsets: Array = np.load(folder / "offsets.npy")

    def __reduce__(self) -> tuple[Any, ...]:
        return CachedTokens, (self._folder,)  # a spawned worker maps the files itself

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @property
    def lengths_N(self) -> Array:
        """Tokens of each document."""
        return np.diff(self._offsets)

    def ids(self, document: int) -> Array:
        """The token ids of a document; a view of the mapped file."""
        return self._ids[self._offsets[document] : self._offsets[document + 1]]

    def word_starts(self, document: int) -> Array:
        """True where a word begins."""
        return self._starts[self._offsets[document] : self._offsets[document + 1]]

    def all_ids(self) -> Array:
        """The tokens of all documents, one after the other."""
        return self._ids[: self._offsets[-1]]

    def plan(self, capacity: int, *, whole_extra: int, piece_extra: int, is_packed: bool) -> Plan:
        """How the documents fill rows of `capacity` tokens; made once and kept beside the tokens.

        Args:
            whole_extra: special tokens that lengthen a document as a whole; piece_extra: those of each of its pieces.
        """
        kind = "packed" if is_packed else "alone"
        file = self._folder / f"plan-{capacity}-{whole_extra}-{piece_extra}-{kind}.npz"
        if not file.is_file():
            plan = plan_of(self.lengths_N + whole_extra, capacity, extra=piece_extra, is_packed=is_packed)
            unfinished = file.with_suffix(f".{id(plan)}.tmp")
            plan.save(unfinished)
            unfinished.replace(file)
        return Plan.load(file)


def tokens_of(source: Source, tokenizer: Any) -> CachedTokens:
    """The tokens of `source` from the cache, which is filled first if need be.

    Raises:
        ConfigError: the tokenizer is not a fast one, or no document has a token.
    """
    require(tokenizer.is_fast, "the tokenizer must be a fast one (tokenizers), which knows where words begin")
    name = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()[:16]
    folder = cache_root("tokens") / f"{source.fingerprint()}-{name}-v{FORMAT}"
    made_once(folder, _is_whole, lambda unfinished: _write(unfinished, source, tokenizer))
    tokens = CachedTokens(folder)
    require(int(tokens.lengths_N.sum()) > 0, f"no document of {source.name} has a token: its texts are empty")
    return tokens


def _is_whole(folder: Path) -> bool:
    if not (folder / "facts.json").is_file():
        return False
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    sizes = [(folder / name).stat().st_size for name in ("ids.bin", "word_starts.bin")]
    return bool(sizes == facts["sizes"])


def _write(folder: Path, source: Source, tokenizer: Any) -> None:
    dtype = np.dtype(np.uint16 if len(tokenizer) <= 2**16 else np.uint32)
    lengths: list[int] = []
    with (folder / "ids.bin").open("wb") as ids_file, (folder / "word_starts.bin").open("wb") as starts_file:
        for encodings in _encoded(texts(source), tokenizer):
            lengths += [sum(len(part) for part, _ in document) for document in encodings]
            for document in encodings:
                for ids, starts in document:
                    ids_file.write(ids.astype(dtype).tobytes())
                    starts_file.write(starts.tobytes())
        if not any(lengths):
            ids_file.write(bytes(dtype.itemsize))  # an empty file can not be mapped
            starts_file.write(b"\0")
    np.save(folder / "offsets.npy", np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))
    sizes = [(folder / name).stat().st_size for name in ("ids.bin", "word_starts.bin")]
    write_text(folder / "facts.json", json.dumps({"dtype": dtype.name, "sizes": sizes}))


def _encoded(documents: Iterator[str], tokenizer: Any) -> Iterator[list[list[tuple[Array, Array]]]]:
    """Batches of documents, each a list of (ids, word starts) of its parts; never much text at once."""
    batch: list[list[str]] = []
    characters = 0
    for text in documents:
        batch.append(_parts(text))
        characters += len(text)
        if characters >= _BATCH_CHARACTERS:
            yield _encode_batch(batch, tokenizer)
            batch, characters = [], 0
    if batch:
        yield _encode_batch(batch, tokenizer)


def _encode_batch(batch: list[list[str]], tokenizer: Any) -> list[list[tuple[Array, Array]]]:
    flat = [part for document in batch for part in document]
    encodings = iter(tokenizer.backend_tokenizer.encode_batch(flat, add_special_tokens=False)) if flat else iter(())
    return [[_ids_and_starts(next(encodings)) for _ in document] for document in batch]


def _ids_and_starts(encoding: Any) -> tuple[Array, Array]:
    words = np.array([-1 if word is None else word for word in encoding.word_ids], dtype=np.int64)
    starts = np.ones(len(words), dtype=np.bool_)
    starts[1:] = (words[1:] != words[:-1]) | (words[1:] < 0)
    return np.array(encoding.ids, dtype=np.int64), starts


def _parts(text: str) -> list[str]:
    """The text, or parts of a very long one that begin at a line or, if there is none, at a space."""
    parts = []
    while len(text) > _LONGEST_PIECE:
        cut = text.rfind("\n", 1, _LONGEST_PIECE)
        cut = text.rfind(" ", 1, _LONGEST_PIECE) if cut < 0 else cut
        cut = _LONGEST_PIECE if cut < 0 else cut
        parts.append(text[:cut])
        text = text[cut:]
    return [*parts, text] if text else parts
