"""A page per command, made from the config classes while the site is built: flags, types, defaults and preset values.

Needs neither torch nor MkDocs to make the pages.
"""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from hfssl.catalog import task_config_of, task_names
from hfssl.commands.command import Command
from hfssl.commands.registry import GROUPS, find, grouped_names
from hfssl.config.flags import Flag
from hfssl.config.help import Presets, shown_value

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

_FOLDER = "reference"
_SECTIONS = {
    "": "Flags",
    "method": "Method",
    "data": "Data",
    "loop": "Length, batches, checkpoints",
    "optim": "Optimizer",
}
_PAGE = re.compile(r"docs/((?:[a-z]+/)?)([a-z_]+)\.md")
_LABELLED = {"image": ("mae", "images"), "text": ("mlm", "texts"), "audio": ("wav2vec2", "recordings")}
"""Modality -> the method and the data of a task's example."""


def on_config(config: "MkDocsConfig") -> "MkDocsConfig":
    """Put the pages into the navigation, where it says `Reference`."""
    entries = [{title: path} for path, title in _titles().items()]
    config.nav = [{"Reference": entries} if "Reference" in entry else entry for entry in config.nav or []]
    return config


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Add the pages to those that are built."""
    from mkdocs.structure.files import File

    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def pages() -> dict[str, str]:
    """Path below docs/ -> Markdown, of all pages of the reference."""
    made = {f"{_FOLDER}/index.md": _overview()}
    for name in _names():
        made[f"{_FOLDER}/{name}.md"] = _page(find(name), [])
    for task in task_names():
        made[f"{_FOLDER}/finetune_{task}.md"] = _page(find("finetune"), ["--task", task])
    return made


def _names() -> list[str]:
    return [name for names in grouped_names().values() for name in names]


def _titles() -> dict[str, str]:
    """Path -> title in the navigation, fine-tuning's tasks behind it."""
    titles = {f"{_FOLDER}/index.md": "All commands"}
    for name in _names():
        titles[f"{_FOLDER}/{name}.md"] = name
        if name == "finetune":
            titles |= {f"{_FOLDER}/finetune_{task}.md": f"finetune: {task}" for task in task_names()}
    return titles


def _overview() -> str:
    lines = ["# All commands", ""]
    lines += ["Every page is made from the config classes. `hfssl COMMAND --help` says the same on the command line."]
    for group, names in grouped_names().items():
        lines += ["", f"## {GROUPS[group]}", *_table(["command", "what it does"], map(_row_of_command, names))]
    lines += ["", "## For every command"]
    rows = [
        ["`--help`, `--help_all`", "the flags that matter first; all flags"],
        ["`--print_config`", "pretraining and fine-tuning: the resolved settings as YAML, which `--config` takes"],
        ["`hfssl --version`", "the version"],
        ["`hfssl completion bash`", "shell completion, also for zsh and fish"],
    ]
    return "\n".join([*lines, *_table(["", ""], rows), ""])


def _row_of_command(name: str) -> list[str]:
    return [f"[`hfssl {name}`]({name}.md)", find(name).summary]


def _page(command: Command, argv: list[str]) -> str:
    named = " ".join([command.name, *argv])
    flags = command.flags(argv)
    presets = command.presets(argv)
    lines = [f"# hfssl {named}", "", f"{command.summary.rstrip('.')}.", ""]
    lines += ["```", " ".join(["hfssl", command.name, *_example(command, argv)]), "```", *_notes(command, argv)]
    for section in sorted({flag.section for flag in flags}, key=list(_SECTIONS).index):
        lines += ["", f"## {_SECTIONS[section]}"]
        lines += _flag_table([flag for flag in flags if flag.section == section])
    return "\n".join([*lines, *_preset_table(flags, presets), ""])


def _example(command: Command, argv: Sequence[str]) -> Sequence[str]:
    if not argv:
        return command.arguments
    method, samples = _LABELLED[task_config_of(argv[-1]).modality]
    return [*argv, "--model", f"runs/{method}-000", "--dataset", f"path/to/labelled/{samples}"]


def _notes(command: Command, argv: Sequence[str]) -> list[str]:
    if command.name == "plan":
        return ["", "The method comes first. Its flags are those of the method's own page."]
    if command.name == "finetune" and not argv:
        links = ", ".join(f"[{task}](finetune_{task}.md)" for task in task_names())
        return ["", f"These flags are common to all tasks. All flags by task: {links}."]
    return []


def _flag_table(flags: Iterable[Flag]) -> list[str]:
    rows = [[f"`--{flag.name}`", _takes(flag), _default(flag), _text(flag.help)] for flag in flags]
    return _table(["flag", "takes", "default", "meaning"], rows)


def _preset_table(flags: Iterable[Flag], presets: Presets) -> list[str]:
    """A column per preset, for the flags that a preset sets."""
    rows = [
        [f"`--{flag.name}`", *[_code(shown_value(values.get(flag.name, flag.default))) for values in presets.values()]]
        for flag in flags
        if any(flag.name in values for values in presets.values())
    ]
    return ["", "## Presets", *_table(["`--config`", *map(_code, presets)], rows)] if rows else []


def _takes(flag: Flag) -> str:
    """Choices one by one: a bar would end the cell."""
    words = ["true", "false"] if flag.annotation is bool else flag.takes.split("|")
    return " or ".join(map(_code, words))


def _default(flag: Flag) -> str:
    return "" if flag.default is None else _code(shown_value(flag.default))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return ["", *[f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]]


def _code(value: Any) -> str:
    return f"`{value}`"


def _text(text: str) -> str:
    """A help text as a cell, its page of the guides as a link."""
    return _PAGE.sub(r"[\2](../\1\2.md)", text).replace("|", "&#124;")
