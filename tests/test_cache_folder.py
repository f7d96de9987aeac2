"""A cache folder is written once, by one of those who ask, and stands under its name only when it is whole."""

import threading
import time
from pathlib import Path

import pytest

from hfssl.data.cache_folder import is_sealed, made_once, seal, sealed_facts


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
