"""Settings: one clear line for what cannot work, at once, and nothing guessed."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hfssl.catalog import DATA_CONFIGS, config_of, method_names
from hfssl.config.files import preset_names
from hfssl.config.parse import make_run, parse
from hfssl.config.sections import LoopConfig, OptimConfig
from hfssl.data.images.config import ImageDataConfig
from hfssl.errors import ConfigError
from hfssl.methods.mae.config import MAEConfig
from hfssl.runs.init_from import adopt_checkpoint

RECIPES = Path(__file__).parent.parent / "recipes"


def mae(*argv: str) -> object:
    return parse(MAEConfig, ImageDataConfig, argv)


def test_no_arguments_is_the_demo_and_a_data_set_alone_the_small_preset(tmp_path: Path) -> None:
    assert mae().preset == "demo"
    (tmp_path / "image.png").write_bytes(b"")
    assert mae("--dataset", str(tmp_path)).preset == "small"


@pytest.mark.parametrize("recipe", method_names())
def test_every_preset_is_valid_and_only_the_demo_brings_data(recipe: str) -> None:
    assert {"demo", "small"} <= set(preset_names(recipe))
    for preset in preset_names(recipe):
        if preset == "demo":
            continue
        method = config_of(recipe)
        data = DATA_CONFIGS[method.modality]
        with pytest.raises(ConfigError, match="brings no data: add --dataset"):
            parse(method, data, ["--config", preset])
        assert parse(method, data, ["--config", preset, "--dataset", "someone/something"]).preset == preset


def test_the_command_line_wins_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    sections = ["method: {mask_ratio: 0.5}", "data: {dataset: demo:digits, image_size: 32}"]
    sections += ["optim: {base_learning_rate: 2e-3}", "loop: {num_epochs: 3}"]
    file.write_text("\n".join(sections))
    run = mae("--config", str(file), "--image_size", "48", "--max_steps", "7")
    assert (run.method.mask_ratio, run.data.image_size, run.optim.base_learning_rate) == (0.5, 48, 0.002)
    assert (run.loop.max_steps, run.loop.num_epochs) == (7, None)  # the length of the command line replaces the file's
    assert run.loop.global_batch_size == 256


REFUSED = {
    ("--mask_ration", "0.5"): "unknown flag --mask_ration; did you mean --mask_ratio?",
    ("--mask_ratio", "75"): r"mask_ratio must be in \(0, 1\), got 75; for 75 % write 0.75",
    ("--mask_ratio", "-1"): r"mask_ratio must be in \(0, 1\), got -1$",
    ("--mask_ratio", "most"): "--mask_ratio must be a number, got 'most'",
    ("--image_size", "33"): "image_size 33 must be a multiple of patch_size 4; the nearest is 32",
    ("--image_size", "1.5"): "--image_size must be a whole number, got '1.5'",
    ("--norm_pix_loss", "maybe"): r"--norm_pix_loss must be true \| false",
    ("--resume", "sometimes"): r"--resume must be auto \| never \| must, got 'sometimes'",
    ("--crop_scale", "0.2"): "--crop_scale must be 2 numbers",
    ("--crop_scale", "0.9", "0.2"): "two rising numbers",
    ("--max_steps", "5", "--num_epochs", "5"): "exclude each other",
    ("--global_batch_size", "128", "--per_device_batch_size", "48"): "global_batch_size 128 must be a multiple",
    ("--keep_checkpoints", "1"): "at least 2",
    ("--hidden_size", "100", "--num_attention_heads", "3"): "must be a multiple of num_attention_heads",
    ("--dataset", "demo:nothing"): "not an embedded set; there are: demo:digits",
    ("--dataset", "./nowhere"): "does not exist",
    ("--dataset", "/no/such/place"): "does not exist",
    ("--config", "tiny"): "neither a preset .*demo.* nor a file",
    ("--model_config", "x", "--init_from", "y"): "exclude|no effect",
    ("--hidden_size", "96", "--init_from", "y"): "--hidden_size has no effect with --init_from",
    ("--pixel_mean", "0.5", "0.5"): "pixel_mean must be one number or 3",
    ("--num_workers", "-1"): "num_workers must be at least 0",
    ("--max_steps", "0"): "max_steps must be above 0, got 0",
}


@pytest.mark.parametrize("argv", REFUSED, ids=" ".join)
def test_what_can_not_work_is_refused_in_one_line(argv: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=REFUSED[argv]) as caught:
        mae(*argv)
    assert "\n" not in str(caught.value)


YAML_REFUSED = {
    "method: {mask_ratoi: 0.5}": "unknown key in bad.yaml, method: mask_ratoi; did you mean mask_ratio",
    "methods: {mask_ratio: 0.5}": "did you mean method",
    "method: {patch_size: big}": "method.patch_size in bad.yaml must be a whole number, got 'big'",
    "method: {patch_size: true}": "must be a whole number, got True",
    "loop: {max_steps: 5, num_epochs: 2}": "exclude each other",
    "recipe: dino": "is of the recipe dino, not mae",
    "- a list": "must hold the sections",
    "method: [": "not valid YAML",
    "method: !!python/object/apply:os.system ['true']": "not valid YAML",
    "method: 3": "must hold `name: value` lines",
}


@pytest.mark.parametrize("text", YAML_REFUSED)
def test_a_bad_file_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=YAML_REFUSED[text]) as caught:
        mae("--config", str(file), "--dataset", "demo:digits")
    assert "\n" not in str(caught.value)


def test_folders_without_images_and_foreign_output_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is an empty folder"):
        mae("--dataset", str(tmp_path))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ConfigError, match="holds neither images"):
        mae("--dataset", str(tmp_path))
    with pytest.raises(ConfigError, match=r"\.txt file; a file must be one of"):
        mae("--dataset", str(tmp_path / "notes.txt"))
    with pytest.raises(ConfigError, match="holds something that is not a run"):
        mae("--output_dir", str(tmp_path))
    assert (tmp_path / "notes.txt").read_text() == "x"


def test_a_runs_own_config_can_be_run_again(tmp_path: Path) -> None:
    import yaml

    run = mae("--mask_ratio", "0.6")
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(run.stored()))
    again = mae("--config", str(file))
    assert replace(again, preset=run.preset, given=run.given) == run


def test_the_digest_follows_what_makes_a_run_and_nothing_else() -> None:
    reference = mae().digest()
    assert mae("--num_workers", "3", "--cpu_threads", "1", "--save_every", "9").digest() == reference
    assert mae("--seed", "1").digest() != reference
    assert mae("--max_steps", "7").digest() != reference
    assert mae("--max_steps", "7").digest(any_length=True) == mae().digest(any_length=True)
    assert mae("--mask_ratio", "0.6").digest() != reference


@pytest.mark.parametrize("recipe", sorted(path.name for path in RECIPES.glob("*.py")))
def test_help_and_mistakes_are_answered_without_torch(recipe: str) -> None:
    probe = (
        "import runpy, sys; code = 0\n"
        "try: runpy.run_path(sys.argv.pop(1), run_name='__main__')\n"
        "except SystemExit as stop: code = stop.code\n"
        "print('torch' in sys.modules, code)"
    )
    recipe_first = {"plan.py": ["mae"], "finetune.py": ["--task", "image_classification"]}.get(recipe, [])
    for flag, expected in (("--help", "False 0"), ("--no_such_flag", "False 2")):
        done = subprocess.run(
            [sys.executable, "-c", probe, str(RECIPES / recipe), *recipe_first, flag],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout.splitlines()[-1] == expected, done.stderr
    assert done.stderr == "error: unknown flag --no_such_flag\n"


def test_what_a_user_wrote_counts_as_given_of_a_stored_run_the_size_of_its_images_and_of_a_preset_nothing(
    tmp_path: Path,
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("data: {dataset: demo:digits, image_size: 32}\nloop: {max_steps: 3}\n")
    assert mae("--config", str(file), "--seed", "1").given == {"dataset", "image_size", "max_steps", "seed"}
    assert mae("--seed", "1").given == {"seed"}
    file.write_text("digest: x\n" + file.read_text())
    assert mae("--config", str(file)).given == {"image_size"}  # against what the config of its model says
    run = make_run(
        MAEConfig.tiny(), ImageDataConfig(dataset="demo:digits", image_size=16), OptimConfig(), LoopConfig(max_steps=1)
    )
    assert {"image_size", "max_steps"} <= run.given


def test_a_checkpoints_sizes_are_taken_unless_given(tmp_path: Path) -> None:
    from transformers import BertConfig, ViTConfig

    stored = ViTConfig(hidden_size=24, num_attention_heads=2, image_size=[12, 12], patch_size=(4, 4), num_channels=1)
    method, data = MAEConfig.tiny().adopt(ImageDataConfig.tiny(), stored, frozenset())
    assert (method.hidden_size, method.patch_size, data.image_size, data.num_channels) == (24, 4, 12, 1)
    _, data = MAEConfig.tiny().adopt(ImageDataConfig.tiny(), stored, frozenset({"image_size"}))
    assert data.image_size == 8
    stored.image_size = [12, 16]
    with pytest.raises(ConfigError, match="only squares are supported"):
        MAEConfig.tiny().adopt(ImageDataConfig.tiny(), stored, frozenset())
    with pytest.raises(ConfigError, match="got one of type bert"):
        MAEConfig.tiny().adopt(ImageDataConfig.tiny(), BertConfig(), frozenset())


@pytest.mark.parametrize("recipe", [name for name in method_names() if config_of(name).modality == "image"])
def test_what_a_preset_says_of_images_survives_the_model_config_that_it_names(recipe: str) -> None:
    for preset in preset_names(recipe):
        argv = [] if preset == "demo" else ["--dataset", "someone/something"]
        run = parse(config_of(recipe), ImageDataConfig, ["--config", preset, *argv])
        if run.loop.model_config is not None:
            adopted, _ = adopt_checkpoint(run)
            assert adopted.data.image_size == run.data.image_size, preset


def test_no_local_crops_in_the_place_of_a_presets_is_a_choice_and_their_size_without_them_an_error() -> None:
    swav = config_of("swav")
    assert parse(swav, ImageDataConfig, ["--config", "small", "--dataset", "a/b", "--num_local_crops", "0"])
    with pytest.raises(ConfigError, match="--local_crop_size has no effect without --num_local_crops"):
        parse(swav, ImageDataConfig, ["--config", "cifar10", "--dataset", "a/b", "--local_crop_size", "16"])
