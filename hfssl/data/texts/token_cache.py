"""Tokens of all documents on disk: memory-mapped files that ranks and workers share.

N documents, T tokens. `ids` (T,) uint16 or uint32, `word_starts` (T,) uint8, `offsets` (N + 1,) int64; special tokens are
not among them: they belong to rows, not to documents.
"""

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np
from tokenizers import Tokenizer, models, normalizers
from transformers import PreTrainedTokenizerFast

from hfssl.data.cache_folder import cache_root, is_sealed, made_once, seal, sealed_facts
from hfssl.data.source import Source
from hfssl.data.texts.pieces import Cutter
from hfssl.data.texts.rows import text_bytes, texts
from hfssl.errors import require
from hfssl.objective import Array

FORMAT = 1  # of the files and of the rules: a new number leaves old caches alone
_BATCH_CHARACTERS = 1_000_000
_LONGEST_PIECE = 100_000
_CHARACTERS_A_LINE = 50_000_000
_BLOCK_OF_TOKENS = 1 << 24
_WORD_MARK = "\u2581"  # SentencePiece's space: a token that begins with it begins a word


class CachedTokens:
    """Tokens read from a cache folder that `tokens_of` filled.

    ids: token of each position. word_starts: 1 where a word of the pre-tokenizer starts.
    offsets: document d holds positions offsets[d] to offsets[d + 1].
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ids: Array = np.memmap(folder / "ids", dtype=sealed_facts(folder)["dtype"], mode="r")
        self.word_starts: Array = np.memmap(folder / "word_starts", dtype=np.uint8, mode="r")
        self.offsets: Array = np.load(folder / "offsets.npy", mmap_mode="r")

    def __reduce__(self) -> tuple[object, ...]:
        return CachedTokens, (self.folder,)  # a spawned worker maps the files itself

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> Array:
        """The ids of one document, a view of the mapped file."""
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    def starts_of(self, index: int) -> Array:
        """`word_starts` of one document, a view of the mapped file."""
        return self.word_starts[self.offsets[index] : self.offsets[index + 1]]

    def share_of(self, token: int) -> float:
        """How much of all tokens this one is."""
        blocks = range(0, len(self.ids), _BLOCK_OF_TOKENS)
        count = sum(int(np.count_nonzero(self.ids[start : start + _BLOCK_OF_TOKENS] == token)) for start in blocks)
        return count / max(1, len(self.ids))

    @property
    def lengths(self) -> Array:
        """Tokens of each document, (N,) int64."""
        return np.diff(self.offsets)


def tokens_of(source: Source, tokenizer: PreTrainedTokenizerFast) -> CachedTokens:
    """The tokens of `source` from the cache, which is filled first if need be, on all cores.

    What looks like a special token in a text is text. Padding and truncation of `tokenizer` do not matter.

    Raises:
        ConfigError: they would not fit on the disk.
    """
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_padding()
    backend.no_truncation()
    digest = hashlib.sha256(backend.to_str().encode()).hexdigest()[:16]
    _take_special_tokens_for_text(backend)
    root = cache_root("tokens")
    folder = root / f"{source.fingerprint()}-{digest}-v{FORMAT}"
    if not is_sealed(folder):
        needed, free = text_bytes(source) / 1e9, shutil.disk_usage(root).free / 1e9
        require(
            needed < free,
            f"the tokens need about {needed:.1f} GB and {free:.1f} GB are free: let HFSSL_CACHE name a larger disk",
        )
    return CachedTokens(made_once(folder, is_sealed, partial(_write, source=source, backend=backend)))


def _take_special_tokens_for_text(backend: Tokenizer) -> None:
    """A unigram model has them among its pieces, each likelier than anything that spells it: there they get a space."""
    backend.encode_special_tokens = True
    if not isinstance(backend.model, models.Unigram):
        return
    special = [token.content for token in backend.get_added_tokens_decoder().values() if token.special]
    pieces = [token for token in special if backend.model.token_to_id(token) is not None]
    spaced = [normalizers.Replace(token, f"{token[0]} {token[1:]}") for token in pieces]
    kept = [] if backend.normalizer is None else [backend.normalizer]
    backend.normalizer = normalizers.Sequence([*spaced, *kept])


def _write(folder: Path, source: Source, backend: Tokenizer) -> None:
    dtype = np.dtype(np.uint16 if max(backend.get_vocab().values()) < 1 << 16 else np.uint32)
    lengths_N = np.zeros(len(source), dtype=np.int64)
    with (folder / "ids").open("wb") as ids, (folder / "word_starts").open("wb") as word_starts:
        for documents, ids_T, starts_T, lengths in _tokenized(source, backend):
            ids.write(ids_T.astype(dtype).tobytes())
            word_starts.write(starts_T.astype(np.uint8).tobytes())
            np.add.at(lengths_N, documents, lengths)
        for file in (ids, word_starts):
            _never_empty(file, dtype.itemsize)
    np.save(folder / "offsets.npy", np.concatenate([[0], np.cumsum(lengths_N)]))
    seal(folder, dtype=dtype.name)


def _never_empty(file: BinaryIO, itemsize: int) -> None:
    if file.tell() == 0:
        file.write(b"\0" * itemsize)  # an empty file cannot be mapped


def _tokenized(source: Source, backend: Tokenizer) -> Iterator[tuple[Array, Array, Array, Array]]:
    """(documents, ids, word starts, lengths) of batches of pieces; documents and lengths are those of the pieces."""
    marked_V = _begin_with_a_mark(backend)
    done = 0
    for documents, pieces in _batches(texts(source), Cutter(backend, _LONGEST_PIECE)):
        encodings = backend.encode_batch(pieces, add_special_tokens=False)
        ids = [encoding.ids for encoding in encodings]
        lengths = np.array([len(piece) for piece in ids])
        ids_T = np.fromiter(chain.from_iterable(ids), dtype=np.int64)
        words_T = np.fromiter(chain.from_iterable(encoding.word_ids for encoding in encodings), dtype=np.int64)
        starts_T = np.diff(words_T, prepend=-1) != 0
        starts_T[(np.cumsum(lengths) - lengths)[lengths > 0]] = True
        yield np.array(documents), ids_T, starts_T | marked_V[ids_T], lengths
        before, done = done, done + sum(map(len, pieces))
        if before // _CHARACTERS_A_LINE < done // _CHARACTERS_A_LINE:
            print(f"tokenizing: {documents[-1] + 1} of {len(source)} documents", flush=True)


def _begin_with_a_mark(backend: Tokenizer) -> Array:
    """(vocabulary,) bool; pre-tokenizers that leave a text whole number no words: only their tokens tell."""
    vocabulary = backend.get_vocab()
    marked_V = np.zeros(max(vocabulary.values()) + 1, dtype=bool)
    marked_V[[number for token, number in vocabulary.items() if token.startswith(_WORD_MARK)]] = True
    return marked_V


def _batches(rows: Iterable[str], cut: Cutter) -> Iterator[tuple[list[int], list[str]]]:
    """Pieces and the numbers of their documents, about _BATCH_CHARACTERS at a time."""
    documents: list[int] = []
    pieces: list[str] = []
    characters = 0
    for document, text in enumerate(rows):
        for piece in cut(text):
            documents.append(document)
            pieces.append(piece)
            characters += len(piece)
            if characters >= _BATCH_CHARACTERS:
                yield documents, pieces
                documents, pieces, characters = [], [], 0
    if pieces:
        yield documents, pieces
