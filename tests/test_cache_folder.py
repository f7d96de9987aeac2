"""A cache folder is written once, by one of those who ask, and stands under its name only when it is whole."""

import dataclasses
import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from filelock import FileLock

from hfssl.data import cache_folder
from hfssl.data.audio.cache import CachedAudio, DecodedAudio, recordings_of, stored
from hfssl.data.audio.files import decode
from hfssl.data.cache_folder import cache_root, is_sealed, made_once, seal, sealed_facts
from hfssl.data.images.cache import DecodedImages, cached
from hfssl.data.in_memory import as_dataset_path
from hfssl.data.texts.config import TextDataConfig
from hfssl.data.texts.packing import packing_plan
from hfssl.data.texts.token_cache import tokens_of
from hfssl.data.texts.tokenizer import open_tokenizer, train_tokenizer
from hfssl.errors import ConfigError
from tests.support.laboratory import few_recordings, few_rows, few_texts


def test_many_ask_and_one_writes(tmp_path: Path) -> None:
    writers: list[int] = []

    def write(folder: Path) -> None:
        writers.append(threading.get_ident())
        (folder / "content").write_text("x")
        time.sleep(0.2)
        seal(folder, kind="test")

    asking = [
        threading.Thread(target=lambda: made_once(tmp_path / "cache", is_sealed, write), daemon=True) for _ in range(4)
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(timeout=10)
    assert len(writers) == 1
    assert sealed_facts(tmp_path / "cache") == {"kind": "test"}


def test_a_writer_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "content").write_text("half of it")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        made_once(tmp_path / "cache", is_sealed, fail)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_a_seal_knows_missing_and_shorter_files(tmp_path: Path) -> None:
    assert not is_sealed(tmp_path)
    (tmp_path / "content").write_text("content")
    seal(tmp_path)
    assert is_sealed(tmp_path)
    (tmp_path / "content").write_text("conten")
    assert not is_sealed(tmp_path)
    (tmp_path / "content").unlink()
    assert not is_sealed(tmp_path)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "emptied": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "one bit": lambda path: path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1])),
    "other text": lambda path: path.write_bytes(b"x" * path.stat().st_size),
    "nested": lambda path: path.write_bytes(b"[" * 100_000),
    "gone": lambda path: path.unlink(),
    "folder": lambda path: (path.unlink(), path.mkdir()),
}


def small_images() -> None:
    images = cached(few_rows(), num_channels=1, image_size=8)
    assert images is not None
    assert len(images) == len(few_rows())
    assert all(torch.equal(images[row], DecodedImages(few_rows(), 1)[row]) for row in range(len(images)))


def small_tokens() -> None:
    source = few_texts()
    tokenizer = train_tokenizer([source.sample(row) for row in range(len(source))], "wordpiece", 300, False)
    tokens = tokens_of(source, tokenizer)
    plan = packing_plan(tokens, capacity=32)
    assert int(plan.lengths.sum()) == len(tokens.ids) == int(tokens.offsets[-1])
    assert tokens[1].tolist() == tokenizer(source.sample(1), add_special_tokens=False)["input_ids"]


def small_recordings() -> None:
    source = few_recordings()
    recordings = recordings_of(source, sampling_rate=16_000, cache="auto")
    assert isinstance(recordings, CachedAudio)
    assert all(len(recordings[row]) == recordings.lengths[row] for row in range(len(source)))
    assert [recordings[row].scale for row in range(3)] == [
        stored(decode(source.sample(row), 16_000)).scale for row in range(3)
    ]


def small_tokenizer() -> None:
    data = dataclasses.replace(TextDataConfig.tiny(), train_tokenizer="wordpiece", vocab_size=300)
    assert open_tokenizer(data, few_texts()).is_fast


def small_table() -> None:
    path = as_dataset_path([{"text": "one"}, {"text": "two"}])
    assert datasets.load_from_disk(path)["text"][:] == ["one", "two"]


def small_headers() -> None:
    recordings = recordings_of(few_recordings(), sampling_rate=16_000, cache="never")
    assert isinstance(recordings, DecodedAudio)
    assert all(len(recordings[row]) == recordings.lengths[row] for row in range(3))


MAKERS = (small_images, small_tokens, small_recordings, small_headers, small_tokenizer, small_table)


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_a_damaged_cache_is_made_again(
    make: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HFSSL_CACHE", str(tmp_path))
    make()
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert any(path.name == "seal.json" for path in files)
    before = {path: path.read_bytes() for path in files}
    if make is small_recordings:
        files = [path for path in files if not path.parent.name.endswith("-headers")]  # read to fill the cache only
    for path in files:
        for damage in DAMAGES.values():
            damage(path)
            make()
            assert path.read_bytes() == before[path] or make is small_table
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_flipped_bit_is_seen_wherever_a_file_is_read_for_its_checksum(tmp_path: Path) -> None:
    (tmp_path / "pixels").write_bytes(bytes(range(256)) * 64)
    seal(tmp_path)
    for place in (0, 5_000, 256 * 64 - 1):
        content = bytearray((tmp_path / "pixels").read_bytes())
        content[place] ^= 4
        (tmp_path / "pixels").write_bytes(content)
        assert not is_sealed(tmp_path)
        content[place] ^= 4
        (tmp_path / "pixels").write_bytes(content)
        assert is_sealed(tmp_path)


def test_long_files_are_sampled_over_their_whole_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_folder, "_WHOLE", 1000)
    monkeypatch.setattr(cache_folder, "_BLOCK", 16)
    content = np.zeros(100_000, dtype=np.uint8)
    (tmp_path / "pixels").write_bytes(content.tobytes())
    seal(tmp_path)
    for share in (0.0, 0.25, 0.5, 0.9):
        flipped = content.copy()
        flipped[int(share * 100_000) :][:1000] = 1
        (tmp_path / "pixels").write_bytes(flipped.tobytes())
        assert not is_sealed(tmp_path), share
    flipped = content.copy()
    flipped[-1] = 1
    (tmp_path / "pixels").write_bytes(flipped.tobytes())
    assert not is_sealed(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"files": {}, "facts": {}}', '{"files": {}, "sum": 3}', "[" * 100_000]
)
def test_a_damaged_seal_seals_nothing(content: str, tmp_path: Path) -> None:
    (tmp_path / "seal.json").write_text(content)
    assert not is_sealed(tmp_path)


def test_half_made_folders_of_killed_writers_are_removed_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    for name in (".cache.1.tmp", ".killed.2.tmp", ".busy.3.tmp", ".config.yaml.tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / ".cache.4.tmp").write_text("a file")
    with FileLock(tmp_path / "busy.lock"):
        made_once(tmp_path / "cache", is_sealed, seal)
    assert {path.name for path in tmp_path.iterdir() if path.suffix == ".tmp"} == {".busy.3.tmp", ".config.yaml.tmp"}


def test_everything_is_on_the_disk_before_the_seal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    fsync = cache_folder.bring_to_disk
    monkeypatch.setattr(cache_folder, "bring_to_disk", lambda path: (order.append(path.name), fsync(path)))
    (tmp_path / "inner").mkdir()
    for name in ("a", "inner/b"):
        (tmp_path / name).write_text(name)
    seal(tmp_path)
    assert {"a", "b", "inner"} <= set(order[: order.index("seal.json")])
    assert order[-1] == tmp_path.name


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_cannot_be_written_is_one_line(number: int, tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        raise OSError(number, os.strerror(number), str(folder))

    with pytest.raises(
        ConfigError, match=r"the cache .* cannot be written \(.*\): free space there, or let HFSSL_CACHE name"
    ):
        made_once(tmp_path / "cache", is_sealed, fail)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_a_cache_below_a_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HFSSL_CACHE", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=r"the cache .* cannot be written"):
        cache_root("images")
