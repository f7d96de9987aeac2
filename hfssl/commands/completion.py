"""Shell completion: a script for bash, zsh or fish that knows every subcommand, its flags and their choices.

source <(hfssl completion bash)
"""

from collections.abc import Mapping

from hfssl.catalog import DATA_CONFIGS, task_config_of, task_names
from hfssl.commands.command import Finetune, Plan
from hfssl.commands.registry import command_names, find
from hfssl.config.files import preset_names
from hfssl.config.flags import Flag
from hfssl.config.parse import run_flags
from hfssl.errors import ConfigError

_GENERAL = ["--help", "--help_all", "--print_config"]
Words = Mapping[str, list[str]]
"""Flag -> the words that may follow it; empty where anything may, and file names are offered."""


def completion(shell: str) -> str:
    """The script.

    Raises:
        ConfigError: there is none for this shell.
    """
    writers = {"bash": _bash, "zsh": _zsh, "fish": _fish}
    if shell not in writers:
        raise ConfigError(f"hfssl completion takes {', '.join(writers)}, got {shell or 'nothing'}")
    return writers[shell]({name: _words_of(name) for name in command_names()})


def _words_of(name: str) -> dict[str, list[str]]:
    command = find(name)
    flags = command.flags([])
    if isinstance(command, Finetune):
        configs = [task_config_of(task) for task in task_names()]
        flags = [flag for config in configs for flag in run_flags(config, DATA_CONFIGS[config.modality])]
    found = {f"--{flag.name}": _choices(flag, name) for flag in flags}
    return found | {flag: [] for flag in _GENERAL}


def _choices(flag: Flag, name: str) -> list[str]:
    if flag.name == "config":
        return preset_names(name)
    return task_names() if flag.name == "task" else flag.choices


def _first_words(name: str) -> list[str]:
    from hfssl.catalog import method_names

    return method_names() if isinstance(find(name), Plan) or name == "presets" else []


def _bash(commands: Mapping[str, Words]) -> str:
    cases, values = [], []
    for name, flags in commands.items():
        cases.append(f"    {name}) words='{' '.join([*_first_words(name), *flags])}' ;;")
        values += [f"    '{name} {flag}') words='{' '.join(words)}' ;;" for flag, words in flags.items() if words]
    return "\n".join(
        [
            "_hfssl() {",
            '  local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}" words=""',
            '  if [ "$COMP_CWORD" -eq 1 ]; then',
            f"    COMPREPLY=($(compgen -W '{' '.join([*commands, 'help', 'completion', '--version'])}' -- \"$current\"))",
            "    return",
            "  fi",
            '  case "${COMP_WORDS[1]} $previous" in',
            *values,
            "  esac",
            '  if [ -z "$words" ] && [[ "$current" != -* && "$previous" == --* ]]; then',
            '    COMPREPLY=($(compgen -f -- "$current"))',
            "    return",
            "  fi",
            '  [ -n "$words" ] || case "${COMP_WORDS[1]}" in',
            *cases,
            "    help) words='" + " ".join(commands) + "' ;;",
            "    completion) words='bash zsh fish' ;;",
            "  esac",
            '  COMPREPLY=($(compgen -W "$words" -- "$current"))',
            "}",
            "complete -o filenames -F _hfssl hfssl",
        ]
    )


def _zsh(commands: Mapping[str, Words]) -> str:
    return "\n".join(["autoload -U +X bashcompinit && bashcompinit", _bash(commands)])


def _fish(commands: Mapping[str, Words]) -> str:
    lines = ["complete -c hfssl -f -n __fish_use_subcommand -a '" + " ".join([*commands, "help", "completion"]) + "'"]
    for name, flags in commands.items():
        seen = f"-n '__fish_seen_subcommand_from {name}'"
        lines += [f"complete -c hfssl {seen} -a '{' '.join(_first_words(name))}'"] if _first_words(name) else []
        for flag, words in flags.items():
            takes = f" -x -a '{' '.join(words)}'" if words else (" -r -F" if flag not in _GENERAL else "")
            lines.append(f"complete -c hfssl {seen} -l {flag.removeprefix('--')}{takes}")
    return "\n".join(lines)
