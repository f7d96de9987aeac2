"""What the file system by itself shows to be wrong with `--dataset`, before anything heavy is imported."""

from collections.abc import Sequence
from pathlib import Path

from hfssl.data.folder_files import files_below, holds_files
from hfssl.errors import require

TABLE_SUFFIXES = frozenset([".parquet", ".jsonl", ".json", ".csv", ".arrow"])
SAVED_SET_FILES = ("dataset_dict.json", "state.json")


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
        require(path.suffix in one_file, f"--dataset {path} is a {path.suffix} file; a file must be one of {allowed}")
    else:
        looks_local = dataset.startswith((".", "/", "~")) or dataset.count("/") > 1
        require(not looks_local, f"--dataset {dataset} does not exist: give a folder, a file or a Hub id")


def _check_folder(folder: Path, samples: str, suffixes: frozenset[str]) -> None:
    if holds_files(folder, suffixes | TABLE_SUFFIXES):  # among them what marks a saved set
        return
    require(any(files_below(folder)), f"--dataset {folder} is an empty folder")
    shown = " ".join(sorted(suffixes))
    require(False, f"--dataset {folder} holds neither {samples} ({shown}) nor tables (Parquet, JSONL, CSV)")
