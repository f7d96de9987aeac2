"""Kinds of files that are not read, with what makes them readable. No heavy imports: `--dataset` is checked by this too."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

_AUDIO = (".m4a", ".aac", ".webm", ".wma", ".mp4", ".mov", ".mkv", ".amr", ".mka", ".3gp", ".ac3")
HOW_TO_CONVERT = {
    **dict.fromkeys(_AUDIO, "convert with: ffmpeg -i INPUT OUTPUT.flac"),
    **dict.fromkeys((".heic", ".heif"), "convert to JPEG, for example with pillow-heif"),
    ".dcm": "convert to PNG, for example with pydicom",
    **dict.fromkeys((".npy", ".npz"), "store arrays in a Parquet table"),
    **dict.fromkeys((".zip", ".tar", ".gz", ".7z", ".rar"), "extract the archive first"),
}


def by_suffix(files: Iterable[Path]) -> list[tuple[str, int]]:
    """Suffixes in lower case with the number of their files, the most frequent first."""
    return Counter(file.suffix.lower() for file in files).most_common()


def not_read(files: Iterable[Path]) -> list[str]:
    """A part of a sentence for each suffix: `3 .m4a not read (convert with: ...)`."""
    parts = []
    for suffix, count in by_suffix(files):
        how = HOW_TO_CONVERT.get(suffix)
        parts.append(f"{count} {suffix or 'without suffix'} not read" + (f" ({how})" if how else ""))
    return parts
