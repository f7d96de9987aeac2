"""How this process was started, so that every command that is named can be run by the reader as it stands.

Standard library only.
"""

import os
import shlex
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

_LAUNCHERS = ("accelerate", "torchrun")
_LAUNCHER_MODULES = ("accelerate.commands", "torch.distributed")


def command(name: str, *arguments: str) -> str:
    """A command of hfssl, spelled as this process was called: `hfssl NAME ...`, `python recipes/NAME.py ...`."""
    return shlex.join([*_words(name, ["python"]), *arguments])


def launched_command(name: str, *arguments: str) -> str:
    """The same for a command that trains, with the launcher (accelerate, torchrun) that started this process."""
    launched = launcher_arguments()
    return shlex.join([*_words(name, None if launched is None else _launcher_words(launched)), *arguments])


def this_command() -> str:
    """The command that started this process, its launcher included, as a shell takes it; of a notebook, that it is one."""
    launched = launcher_arguments()
    script = Path(sys.argv[0])
    if launched is not None:
        command = shlex.join(launched)
        on_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("true", "1") and "--cpu" not in command
        return f"ACCELERATE_USE_CPU=true {command}" if on_cpu else command
    if _is_module(script):
        return shlex.join(["python", "-m", "hfssl", *sys.argv[1:]])
    if script.name == "hfssl":
        return shlex.join(["hfssl", *sys.argv[1:]])
    is_script = script.suffix == ".py" and "site-packages" not in script.parts
    return (
        shlex.join(["python", str(script), *sys.argv[1:]])
        if is_script
        else "called from Python, in a notebook or a shell"
    )


def is_command() -> bool:
    """Whether this process is a command of hfssl, not a notebook or a program that calls its Python API."""
    script = Path(sys.argv[0])
    return script.name == "hfssl" or _is_module(script) or _is_recipe(script)


def launcher_arguments() -> list[str] | None:
    """The command line of the launcher that started this process, from `accelerate` or `torchrun` on; None without one."""
    try:
        arguments = Path(f"/proc/{os.getppid()}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return None
    for index, argument in enumerate(arguments[:3]):
        if Path(argument).name in _LAUNCHERS:
            return [Path(argument).name, *arguments[index + 1 :]]
        if argument == "-m" and arguments[index + 1].startswith(_LAUNCHER_MODULES):
            return ["python", *arguments[index:]]
    return None


def asked_processes() -> int:
    """The processes that `accelerate launch --num_processes` asks for; 1 without it."""
    words = [part for argument in launcher_arguments() or [] for part in argument.split("=", 1)]
    for name, value in pairwise(words):
        if name in ("--num_processes", "--num-processes") and value.isdecimal():
            return int(value)
    return 1


def _words(name: str, runner: Sequence[str] | None) -> list[str]:
    """runner: what starts a recipe or `-m hfssl`; None where nothing but the command itself is needed."""
    script = Path(sys.argv[0])
    sibling = script.with_name(f"{name}.py")
    if _is_recipe(script) and sibling.is_file():
        return [*(runner or ["python"]), str(sibling)]
    if _is_module(script) or (runner and runner[0] != "python"):
        return [*(runner or ["python"]), "-m", "hfssl", name]
    return ["hfssl", name]


def _launcher_words(launched: Sequence[str]) -> list[str]:
    """The launcher with its own options: what stands before the script or the module."""
    for index, argument in enumerate(launched):
        is_module = argument in ("-m", "--module") and launched[index + 1 : index + 2] == ["hfssl"]
        if is_module or Path(argument).name == Path(sys.argv[0]).name:
            return list(launched[:index])
    return list(launched[:2]) if launched[0] == "accelerate" else list(launched[:1])


def _is_recipe(script: Path) -> bool:
    return script.suffix == ".py" and script.absolute().parent.name == "recipes"


def _is_module(script: Path) -> bool:
    return script.name == "__main__.py" and script.absolute().parent.name == "hfssl"
