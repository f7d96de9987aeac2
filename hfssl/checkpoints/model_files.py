"""What the files of a checkpoint say without any model being built: settings in JSON, tensors by name and shape.

No torch here.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from hfssl.errors import ConfigError, one_line
from hfssl.run_dir import Json


def settings_in(file: Path) -> Json:
    """The content of a JSON file.

    Raises:
        ConfigError: it is damaged.
    """
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise damaged(file, error) from error


def shapes_in(file: Path) -> Mapping[str, tuple[int, ...]]:
    """The shape of each tensor in a safetensors file, of which only the head is read.

    Raises:
        ConfigError: it is damaged.
    """
    try:
        with safe_open(file, framework="numpy") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise damaged(file, error) from error


def damaged(file: Path, error: Exception) -> ConfigError:
    """The error that names a file which cannot be read."""
    return ConfigError(f"{file} is damaged ({one_line(error)}): make the export again, or fetch the checkpoint again")
