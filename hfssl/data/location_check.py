"""What the file system by itself shows to be wrong with `--dataset`, before anything heavy is imported."""

from collections.abc import Sequence
from pathlib import Path

from hfssl.data.folder_files import files_below, holds_files
from hfssl.data.unread_files import not_read
from hfssl.errors import ConfigError, require

TABLE_SUFFIXES = frozenset([".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".arrow"])
SAVED_SET_FILES = ("dataset_dict.json", "state.json")


def is_saved_set(path: Path) -> bool:
    """Whether `datasets` saved a data set in the folder."""
    return any((path / name).is_file() for name in SAVED_SET_FILES)


def check_location(
    dataset: str, *, demo_sets: Sequence[str], samples: str, suffixes: frozenset[str], one_file: frozenset[str]
) -> None:
    """Raise ConfigError unless `dataset` can be an embedded set, a folder, a file or a Hub id.

    Args:
        demo_sets: embedded sets of this modality.
        samples: what the files in a folder are called in a message: images, texts.
        suffixes: of the files that a folder may hold instead of tables.
        one_file: suffixes of what may be named as a file itself.
    """
    if dataset.startswith("demo:"):
        known = ", ".join(f"demo:{name}" for name in demo_sets)
        require(dataset[5:] in demo_sets, f"--dataset {dataset} is not an embedded set; there are: {known}")
        return
    path = Path(dataset).expanduser()
    if path.is_dir():
        _check_folder(path, samples, suffixes)
    elif path.is_file():
        allowed = ", ".join(sorted(one_file))
        require(
            path.suffix.lower() in one_file,
            f"--dataset {path} is a {path.suffix} file; a file must be one of {allowed}",
        )
    else:
        looks_local = dataset.startswith((".", "/", "~")) or dataset.count("/") > 1
        require(not looks_local, f"--dataset {dataset} does not exist: give a folder, a file or a Hub id")


def _check_folder(folder: Path, samples: str, suffixes: frozenset[str]) -> None:
    if holds_files(folder, suffixes | TABLE_SUFFIXES):  # among them what marks a saved set
        return
    files = list(files_below(folder))
    require(bool(files), f"--dataset {folder} is an empty folder")
    raise ConfigError(
        f"--dataset {folder} holds neither {samples} ({' '.join(sorted(suffixes))}) nor tables (Parquet, JSONL, CSV), but "
        f"{', '.join(not_read(files))}"
    )
