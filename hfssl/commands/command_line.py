"""The command `hfssl`: a subcommand by its name, help, shell completion, and one line for every error.

    hfssl mae --dataset path/to/images
    accelerate launch -m hfssl mae --dataset path/to/images

Flags are read before torch is imported, so that help and a mistyped flag are answered at once.
"""

import difflib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hfssl.config.help import help_text
from hfssl.config.invocation import command as spelled
from hfssl.errors import ConfigError, exit_with
from hfssl.version import __version__

if TYPE_CHECKING:
    from hfssl.commands.command import Command

_HELP = ("--help", "-h")
_BUILT_IN = ("help", "completion")


def main(argv: Sequence[str] | None = None) -> None:
    """Run `hfssl ARGV`; None takes the command line of this process."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        name, *others = words or ["help"]
        if name == "help" and others:
            name, others = others[0], ["--help", *others[1:]]
        if name in (*_HELP, "help"):
            print(overview())
        elif name in ("--version", "-V"):
            print(f"hfssl {__version__}")
        elif name == "completion":
            from hfssl.commands.completion import completion

            print(completion(others[0] if others else ""))
        else:
            run_command(name, others)
    except ConfigError as error:
        exit_with(error)
    except BrokenPipeError:  # `hfssl mae --help | head`
        sys.stderr.close()


def run_command(name: str, argv: Sequence[str] | None = None) -> None:
    """Run one subcommand; None takes the flags of this process, as a recipe does. Errors end the process with one line."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        command = _known(name)
        if any(word in (*_HELP, "--help_all") for word in argv):
            print(_help(name, argv))
            return
        if "--print_config" in argv:
            print(_resolved(name, [word for word in argv if word != "--print_config"]))
            return
        config = command.read(argv)
    except ConfigError as error:
        exit_with(error)
    if command.is_light:
        command.run(config)
        return
    from hfssl.console import reported

    with reported():
        command.run(config)


def overview() -> str:
    """All subcommands in their groups, a line each."""
    from hfssl.commands.registry import GROUPS, find, grouped_names

    lines = ["hfssl: self-supervised pretraining inside the Hugging Face ecosystem", "", "usage: hfssl COMMAND [flags]"]
    for group, names in grouped_names().items():
        lines += ["", GROUPS[group]]
        lines += [f"  {name:<10}  {find(name).summary}" for name in names]
    lines += [
        "",
        "flags of a command: hfssl COMMAND --help    many processes: accelerate launch -m hfssl COMMAND [flags]",
    ]
    return "\n".join([*lines, "shell completion:   hfssl completion bash|zsh|fish"])


def _known(name: str) -> "Command":
    from hfssl.commands.registry import command_names, find

    names = command_names()
    if name not in names:
        close = difflib.get_close_matches(name, [*names, *_BUILT_IN], n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(names)}"
        raise ConfigError(f"unknown command {name}{hint}")
    return find(name)


def _help(name: str, argv: Sequence[str]) -> str:
    command = _known(name)
    told = [word for word in argv if word not in (*_HELP, "--help_all")]
    return help_text(
        f"hfssl {name}: {command.summary}",
        spelled(name, *command.arguments),
        command.flags(told),
        command.presets(told),
        all_flags="--help_all" in argv,
        notes=command.notes(told),
    )


def _resolved(name: str, argv: Sequence[str]) -> str:
    """The settings of a run as YAML, which --config takes."""
    import yaml

    run = _known(name).resolved(argv)
    sections = {section: run.stored()[section] for section in ("method", "data", "optim", "loop")}
    return f"# {run.recipe}, preset {run.preset}\n" + yaml.safe_dump({"recipe": run.recipe} | sections, sort_keys=False)
