"""All runs of a folder: a table in the terminal, and one page that compares them. No torch here."""

from pathlib import Path

from hfssl.commands.runs_config import RunsConfig
from hfssl.errors import ConfigError, require
from hfssl.reporting.run_listing import ListedRun, list_runs
from hfssl.reporting.runs_page import INDEX, write_index
from hfssl.reporting.runs_table import in_order, table_lines
from hfssl.run_dir import RunDir


def runs(config: RunsConfig) -> Path:
    """Print a table of the runs, and write index.html into their folder; returns its path.

    Raises:
        ConfigError: there is no such folder, it is itself a run, or it cannot be written to.
    """
    folder = Path(config.folder).expanduser()
    require(folder.exists(), f"{config.folder} does not exist: name the folder that holds run folders")
    require(folder.is_dir(), f"{config.folder} is a file: name the folder that holds run folders")
    require(
        not RunDir(folder).config_file.is_file(),
        f"{config.folder} is a run itself: name the folder above it, {folder.absolute().parent}",
    )
    listed: list[ListedRun] = in_order(list_runs(folder), config.sort)
    print("\n".join(table_lines(listed)) if listed else f"no run folders in {config.folder}")
    try:
        index = write_index(folder, listed, config.sort)
    except OSError as error:
        raise ConfigError(f"{folder / INDEX} cannot be written ({error.strerror}): only the table is shown") from error
    print(f"\npage        {index}")
    return index
