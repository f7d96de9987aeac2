"""The command `hfssl`: what it lists, how it helps, and which command its texts name."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hfssl.commands.command_line import main, overview, run_command
from hfssl.commands.completion import completion
from hfssl.commands.registry import command_names, find, grouped_names
from hfssl.config import invocation
from hfssl.config.files import preset_names

ROOT = Path(__file__).parents[1]
FIRST = {"plan": ["mae"], "presets": ["mae"], "finetune": ["--task", "image_classification"]}


def output_of(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    main(argv)
    return capsys.readouterr().out


def line_of_error(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_every_recipe_is_a_command_and_every_command_but_light_ones_a_recipe() -> None:
    recipes = {path.stem for path in (ROOT / "recipes").glob("*.py")} - {"evaluate_checkpoint"} | {"evaluate"}
    assert recipes == {name for name in command_names() if not find(name).is_light}
    assert sorted(command_names()) == sorted(set(command_names()))


def test_the_overview_lists_every_command_once_in_its_group() -> None:
    lines = overview().splitlines()
    for names in grouped_names().values():
        for name in names:
            assert sum(line.startswith(f"  {name} ") for line in lines) == 1
            assert find(name).summary in overview()


@pytest.mark.parametrize("name", command_names())
def test_help_shows_types_choices_and_an_example_that_can_be_parsed(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = find(name)
    first = FIRST.get(name, [])
    brief, whole = (output_of(capsys, name, *first, flag) for flag in ("--help", "--help_all"))
    assert f"example: hfssl {name} {' '.join(command.arguments)}" in brief
    for flag in command.flags(first):
        assert whole.count(f"--{flag.name} {flag.takes}") == 1
        assert (f"  --{flag.name} " in brief) == flag.is_basic
    assert len([flag for flag in command.flags(first) if flag.is_basic]) <= 22
    assert all(len(line) <= 160 for line in whole.splitlines())


def test_help_gives_the_value_of_each_preset(capsys: pytest.CaptureFixture[str]) -> None:
    said = " ".join(output_of(capsys, "mae", "--help_all").split())
    assert "width of the encoder [cifar10 192; demo 96; small 384; vit_base_imagenet1k 768]" in said
    assert "--resume auto|never|must" in said
    assert "share of the patches that is hidden [0.75]" in said


def test_presets_stand_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    lines = output_of(capsys, "presets", "mae").splitlines()
    assert lines[0].split() == preset_names("mae")
    assert next(line.split() for line in lines if line.startswith("hidden_size")) == [
        "hidden_size",
        "192",
        "96",
        "384",
        "768",
    ]


def test_a_printed_config_is_one_that_config_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = output_of(capsys, "mae", "--config", "small", "--hidden_size", "192", "--print_config")
    settings = yaml.safe_load(text)
    assert (settings["method"]["hidden_size"], settings["method"]["num_hidden_layers"]) == (192, 12)
    assert settings["data"]["dataset"] is None
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    assert find("mae").resolved(["--config", str(file)]).method.hidden_size == 192
    assert output_of(capsys, "mae", "--config", str(file), "--print_config").splitlines()[1:] == text.splitlines()[1:]
    assert "--print_config: evaluate has no presets" in line_of_error(capsys, "evaluate", "--print_config")


def test_unknown_words_name_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown command finetun; did you mean finetune?" in line_of_error(capsys, "finetun")
    assert "unknown command zzzz; there are: byol" in line_of_error(capsys, "zzzz")
    assert "unknown flag --datset; did you mean --dataset?" in line_of_error(capsys, "mae", "--datset", "x")
    assert "expected one argument" in line_of_error(capsys, "mae", "--dataset")
    assert "name the method first" in line_of_error(capsys, "plan")
    assert "expected one argument" in line_of_error(capsys, "finetune", "--task")


def test_version_and_help_in_other_spellings(capsys: pytest.CaptureFixture[str]) -> None:
    assert output_of(capsys, "--version").startswith("hfssl 0.")
    assert output_of(capsys) == output_of(capsys, "help") == output_of(capsys, "-h")
    assert output_of(capsys, "help", "mae") == output_of(capsys, "mae", "-h")


@pytest.mark.parametrize(
    "argv", [[], ["mae", "--help"], ["mae", "--no_such_flag"], ["presets", "dino"], ["completion", "bash"]]
)
def test_these_answer_without_torch(argv: list[str]) -> None:
    probe = (
        "import sys; from hfssl.commands.command_line import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules, 'datasets' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", probe, *argv], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout.splitlines()[-1] == "False False", done.stderr


def completed(script: Path, *words: str) -> list[str]:
    typed = " ".join(f"'{word}'" for word in words)
    code = f"source {script}; COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; _hfssl; echo ${{COMPREPLY[@]}}"
    return subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_bash_completes_commands_flags_and_choices(tmp_path: Path) -> None:
    script = tmp_path / "hfssl.bash"
    script.write_text(completion("bash"))
    assert completed(script, "hfssl", "fine") == ["finetune"]
    assert completed(script, "hfssl", "mae", "--resu") == ["--resume"]
    assert completed(script, "hfssl", "mae", "--resume", "") == ["auto", "never", "must"]
    assert completed(script, "hfssl", "mae", "--config", "") == preset_names("mae")
    assert completed(script, "hfssl", "plan", "sim") == ["simclr"]
    assert completed(script, "hfssl", "finetune", "--task", "image") == ["image_classification"]
    for shell in ("zsh", "fish"):
        assert all(name in completion(shell) for name in command_names())


STARTED = {
    ("/venv/bin/hfssl",): ("hfssl export --run r", "hfssl mae"),
    ("/venv/lib/hfssl/__main__.py",): ("python -m hfssl export --run r", "python -m hfssl mae"),
    ("recipes/mae.py",): ("python recipes/export.py --run r", "python recipes/mae.py"),
    ("/usr/lib/ipykernel_launcher.py",): ("hfssl export --run r", "hfssl mae"),
}


@pytest.mark.parametrize("argv", STARTED, ids=" ".join)
def test_texts_name_the_command_as_this_process_was_called(
    argv: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", list(argv))
    monkeypatch.setattr(invocation, "launcher_arguments", lambda: None)
    assert (invocation.command("export", "--run", "r"), invocation.launched_command("mae")) == STARTED[argv]
    assert invocation.is_command() == ("ipykernel" not in argv[0])


LAUNCHED = {
    "accelerate launch --num_processes 2 -m hfssl mae --seed 1": "accelerate launch --num_processes 2 -m hfssl mae",
    "torchrun --nproc_per_node 2 -m hfssl mae": "torchrun --nproc_per_node 2 -m hfssl mae",
    "accelerate launch recipes/mae.py --seed 1": "accelerate launch recipes/mae.py",
    "accelerate launch -m hfssl dino": "accelerate launch -m hfssl mae",
}


@pytest.mark.parametrize("launched", LAUNCHED)
def test_a_launcher_and_its_options_stay_in_front(launched: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "/venv/hfssl/__main__.py" if "-m hfssl" in launched else "recipes/mae.py"
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [script, "--seed", "1"])
    monkeypatch.setattr(invocation, "launcher_arguments", launched.split)
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    assert invocation.launched_command("mae") == LAUNCHED[launched]
    assert invocation.this_command() == launched
    assert not invocation.command("export").startswith(("accelerate", "torchrun"))


def test_a_command_that_cannot_work_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_command("report", ["--run", str(tmp_path)])
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"error: --run {tmp_path} is not a run folder: it has no config.yaml\n"
