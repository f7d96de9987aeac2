"""What the pages say can be done: every command is read by the real parser, every link leads to a file, every flag has its line.

Nothing here trains, and nothing imports torch.
"""

import ast
import importlib.util
import json
import re
import shlex
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import hfssl
from hfssl.catalog import DATA_CONFIGS, task_config_of, task_names
from hfssl.commands.registry import command_names, find
from hfssl.config.flags import Flag, read_flags
from hfssl.config.parse import run_flags
from hfssl.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "model_cards/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
BANNED = (
    r"strangers?",
    r"anew",
    r"beside",
    r"(go|goes|going|went) on",
    r"can not",
    r"what (it|they|this) (is|are) worth",
    r"alone",
    r"one who",
    r"held[- ]out",
    r"learnt",
    r"look-?outs?",
    r"(images|samples|tokens|rows|audio seconds|steps) an? (second|step|image|hour)",
)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_COMMAND = re.compile(r"\s*(?:[A-Z_]+=\S+\s+)*(?:hfssl|python|accelerate|torchrun)\b")
_BUILT_IN = {"completion", "help", "--version", "--help"}
_OF_A_RUN = ("eval/", "figures/", "runs/", "path/")  # what a run writes
_SHOWING = ("--help", "--help_all", "--print_config")
_LAUNCHERS = (["accelerate", "launch"], ["torchrun"])


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REFERENCE: dict[str, str] = _module("reference").pages()
LINKS, DIAGRAMS = _module("repository_files"), _module("diagrams")


def blocks_of(text: str) -> Iterator[str]:
    """The fenced blocks that may hold commands, lines that are broken by a backslash joined."""
    for language, content in _FENCE.findall(text):
        if language in ("", "bash", "sh"):
            yield content.replace("\\\n", " ")


def commands_in(line: str) -> Iterator[list[str]]:
    """The words of each command of a shell line, without variables before it and comments behind it."""
    for part in filter(_COMMAND.match, line.split("&&")):
        words = shlex.split(part, comments=True)
        yield words[next(index for index, word in enumerate(words) if "=" not in word) :]


def inline_commands(text: str) -> Iterator[list[str]]:
    """Commands in running text and tables, but for patterns: with dots for the rest, or a command's name in capitals."""
    for code in _INLINE.findall(_FENCE.sub("", text)):
        if not re.search(r"\.\.\.|[<>|*]|hfssl [A-Z]", code):
            yield from commands_in(code)


def called(words: Sequence[str]) -> tuple[str, list[str]] | None:
    """(name, what follows) of a command of hfssl, whatever started it; None where it is another program's."""
    words = list(words)
    launched = any(words[: len(launcher)] == launcher for launcher in _LAUNCHERS)
    for index, word in enumerate(words):
        is_module = word == "hfssl" and index > 0 and words[index - 1] == "-m"
        if (is_module and (launched or words[0] == "python")) or (word == "hfssl" and index == 0):
            return (words[index + 1], words[index + 2 :]) if len(words) > index + 1 else ("help", [])
        if word.startswith("recipes/") and (launched or words[0] == "python"):
            assert (ROOT / word).is_file(), word
            name = Path(word).stem
            return ("evaluate" if name == "evaluate_checkpoint" else name), words[index + 1 :]
    return None


def place(word: str, folder: Path) -> None:
    """Make what a placeholder stands for: a file by its suffix, else a folder with a sample of the kind that it is named by, or
    a table."""
    target = folder / word
    if target.suffix in (".csv", ".jsonl", ".parquet", ".jpg", ".png", ".yaml"):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
        return
    kinds = {"image": ".png", "text": ".txt", "recording": ".wav"}
    target.mkdir(parents=True, exist_ok=True)
    for suffix in [kinds[kind] for kind in kinds if kind in target.name] or [".parquet"]:
        (target / f"0{suffix}").touch()


def check(name: str, argv: list[str], folder: Path) -> None:
    """Raises ConfigError where hfssl would refuse the command; `folder` holds what its paths stand for."""
    if name in _BUILT_IN:
        return
    assert name in command_names(), name
    told = [word for word in argv if word not in _SHOWING]
    if told != argv:
        read_flags(find(name).flags(told), told[1:] if name in ("plan", "presets") else told)
        return
    for word in argv:
        if ("/" in word or word.endswith(".jpg")) and not word.startswith("-") and ":" not in word:
            place(word, folder)
    if name == "finetune" and "--task" not in argv and any(word.endswith((".csv", ".jsonl")) for word in argv):
        read_flags(of_any_task(), argv)  # its task is in the columns
        return
    find(name).read(argv)


def of_any_task() -> list[Flag]:
    configs = [task_config_of(name) for name in task_names()]
    flags = [flag for config in configs for flag in run_flags(config, DATA_CONFIGS[config.modality])]
    return list({flag.name: flag for flag in flags}.values())


def check_flags(name: str, argv: list[str]) -> None:
    """The names of the flags only: values may be left out, or placeholders in capitals."""
    if name in _BUILT_IN:
        return
    assert name in command_names(), name
    flags = of_any_task() if name == "finetune" else find(name).flags(argv)
    known = {f"--{flag.name}" for flag in flags} | set(_SHOWING)
    unknown = [word for word in argv if word.startswith("--") and word not in known]
    assert not unknown, f"hfssl {name} knows no {unknown[0]}"


def check_benchmark(words: Sequence[str]) -> None:
    """The file exists and declares every flag."""
    file = ROOT / words[1]
    assert file.is_file(), words[1]
    declared = {
        argument.value
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument"
        for argument in call.args
        if isinstance(argument, ast.Constant)
    }
    unknown = [word for word in words[2:] if word.startswith("--") and word not in declared]
    assert not unknown, f"{words[1]} knows no {unknown[0]}"


@pytest.mark.parametrize("name", NAMES)
def test_every_command_of_a_page_can_be_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / name).read_text(encoding="utf-8")
    problems = []
    for line in [line for block in blocks_of(text) for line in block.splitlines()]:
        for words in commands_in(line):
            try:
                if words[0] == "python" and words[1].startswith("benchmarks/"):
                    check_benchmark(words)
                elif (command := called(words)) is not None:
                    check(*command, tmp_path)
            except (ConfigError, AssertionError) as error:
                problems.append(f"{shlex.join(words)}: {error}")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_in_running_text_has_flags_that_exist(name: str) -> None:
    problems = []
    for words in inline_commands((ROOT / name).read_text(encoding="utf-8")):
        try:
            if len(words) > 1 and words[0] == "python" and words[1].startswith("benchmarks/"):
                check_benchmark(words)
            elif (command := called(words)) is not None:
                check_flags(*command)
        except (ConfigError, AssertionError) as error:
            problems.append(f"{shlex.join(words)}: {error}")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("name", NAMES)
def test_every_link_of_a_page_leads_to_a_file(name: str) -> None:
    page = ROOT / name
    made = {ROOT / "docs" / path for path in REFERENCE}
    targets = [(page.parent / link).resolve() for link in LINKS.links(page.read_text(encoding="utf-8"))]
    missing = [str(target) for target in targets if target not in made and not target.is_file()]
    assert not missing, missing


@pytest.mark.parametrize("name", [*NAMES, *REFERENCE])
def test_no_page_uses_a_word_that_the_style_rules_out(name: str) -> None:
    text = REFERENCE[name] if name in REFERENCE else (ROOT / name).read_text(encoding="utf-8")
    prose = re.sub(r"\s+", " ", _FENCE.sub("", text))
    found = [
        prose[max(0, hit.start() - 40) : hit.end() + 20] for hit in re.finditer(rf"(?i)\b({'|'.join(BANNED)})\b", prose)
    ]
    assert not found, found


def test_the_readme_is_read_in_a_minute() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 700


def test_the_readmes_two_commands_stand_below_their_headings_on_one_line() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^## [^\n]+\n+```\n([^\n]*pip install[^\n]*)\n```$", text, re.MULTILINE)
    assert [command.split(" && ")[1] for command in commands] == ["hfssl mae", "pytest"]


def test_the_reference_has_a_line_for_every_flag_of_every_command() -> None:
    flags = {f"reference/{name}.md": find(name).flags([]) for name in command_names()}
    for task in task_names():
        flags[f"reference/finetune_{task}.md"] = find("finetune").flags(["--task", task])
    assert REFERENCE.keys() == flags.keys() | {"reference/index.md"}
    for path, expected in flags.items():
        lines = [line.split("`")[1] for line in REFERENCE[path].splitlines() if line.startswith("| `--")]
        missing = {f"--{flag.name}" for flag in expected} - set(lines)
        assert not missing, (path, missing)


def test_the_navigation_holds_every_page_once() -> None:
    def paths(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        parts = entry.values() if isinstance(entry, dict) else entry
        assert parts is not None
        return [path for part in parts for path in paths(part)]  # type: ignore[attr-defined]

    named = paths(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    made = ("reference/", "repository/")
    own = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert sorted(path for path in named if not path.startswith(made)) == sorted(own)


def test_the_drawn_diagram_shows_what_its_page_says() -> None:
    page, drawn = (ROOT / "docs" / name for name in ("architecture.md", "architecture-1.svg"))
    text = page.read_text(encoding="utf-8")
    assert DIAGRAMS.missing_labels(text, drawn.read_text(encoding="utf-8")) == []
    changed = text.replace('["parameters"]', '["weights"]')
    assert DIAGRAMS.missing_labels(changed, drawn.read_text(encoding="utf-8")) == ["weights"]


def test_the_table_of_the_demos_says_what_its_files_say() -> None:
    lines = (ROOT / "docs/results.md").read_text(encoding="utf-8").splitlines()
    of_digits = [
        line for line in lines if re.search(r"benchmarks/results/demo_\w+\.json\) \|$", line) and line.count("|") == 10
    ]
    assert len(of_digits) == 8
    for line in of_digits:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        file = ROOT / "docs" / re.findall(r"\(([^)]+\.json)\)", cells[-1])[0]
        measured = json.loads(file.read_text(encoding="utf-8"))
        runs, scores = measured["runs"], measured["scores"]["pretrained"]
        seconds = sorted(round(run["seconds"]) for run in runs)
        assert cells[1].replace(",", "") == str(runs[0]["steps"])
        assert cells[3] in (str(seconds[0]), f"{seconds[0]} to {seconds[-1]}")
        assert [cell.split()[0] for cell in cells[4:7]] == [
            f"{scores[name]['mean']:.3f}" for name in ("knn", "linear", "few_labels")
        ]
        assert cells[7].strip("`").startswith(measured["command"].partition(" --seeds")[0])


def test_the_levels_of_the_architecture_are_those_of_the_contract() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d+ \| ([^|]+) \|", page, re.MULTILINE)
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ][0]
    assert [set(re.findall(r"`(\w+)`", row)) for row in rows] == [
        set(level.split(" | ")) for level in contract["layers"]
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_file_of_the_code_that_a_page_names_exists(name: str) -> None:
    named = re.findall(r"`((?:\w+/)+\w+\.(?:py|json|yaml|md|mjs))`", (ROOT / name).read_text(encoding="utf-8"))
    package = Path(hfssl.__file__).parent  # in the checkout, or installed
    folders = (ROOT, package.parent, package, package / "methods/mae")
    missing = [
        path for path in named if not path.startswith(_OF_A_RUN) and not any((up / path).is_file() for up in folders)
    ]
    assert not missing, missing
