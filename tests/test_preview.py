"""The sheet of views: what a run would see, offline and without arguments, and refusals that help."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hfssl.commands import preview as module
from hfssl.commands.preview import preview
from hfssl.commands.preview_config import PreviewConfig
from hfssl.data.images.augmentation import view_keys
from hfssl.data.images.views import ViewsPipeline
from hfssl.errors import ConfigError
from hfssl.figures.image_sheet import SheetCell
from hfssl.randomness import sample_keys
from tests.support.scripts import run_recipe


def test_without_arguments_digits_are_shown(tmp_path: Path) -> None:
    finished = run_recipe("preview", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    lines = finished.stdout.splitlines()
    assert lines[0] == "digits at 32 pixels"
    assert lines[-1] == "written to preview.png"
    assert not any("flip" in line for line in lines)
    assert Image.open(tmp_path / "preview.png").size[1] > 300


def test_the_cells_are_the_views_of_a_run_as_people_see_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sheets: list[list[tuple[str, list[SheetCell]]]] = []
    monkeypatch.setattr(module, "image_sheet", lambda path, lines: sheets.append(lines))
    config = PreviewConfig(
        num_images=3, num_local_crops=2, local_crop_size=12, epoch=2, seed=5, output=str(tmp_path / "sheet.png")
    )
    preview(config)
    assert [title for title, _ in sheets[0]] == ["row 0", "row 648", "row 1296"]
    cells = sheets[0][1][1]
    assert [cell.caption for cell in cells] == ["original", "view 1", "view 2", "local 1", "local 2"]
    local = cells[3].image
    assert local.shape == (3, 32, 32)
    assert bool((local[:, :10] == 255).all() & (local[:, 22:] == 255).all() & (local[:, :, :10] == 255).all())
    data = config.image_data()
    pipeline = ViewsPipeline(data, config.views())
    key = sample_keys(5, torch.tensor([2]), torch.tensor([648]))
    batch = pipeline.collate([pipeline.transform(cells[0].image, key[0])], key)
    expected = pipeline.augment(batch | {"keys": key}, 0.0)["global_crops"][0]
    assert view_keys(key, "global_crops", 2).shape == (1, 2)
    for view in range(2):
        shown = cells[1 + view].image
        assert float((shown / 255 - (expected[view] * 0.5 + 0.5)).abs().max()) <= 0.51 / 255


def test_a_preset_of_ones_own_images_and_of_one_channel(tmp_path: Path) -> None:
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 256, (40, 30 + index), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    config = PreviewConfig(
        dataset=str(tmp_path),
        augmentation="grey",
        num_channels=1,
        image_size=24,
        num_images=3,
        output=str(tmp_path / "out" / "a.png"),
    )
    assert preview(config).is_file()
    assert PreviewConfig(dataset=str(tmp_path)).preset == "natural"
    assert PreviewConfig(dataset=str(tmp_path)).image_data().image_size == 224


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"num_images": 0}, "num_images must be at least 1"),
        ({"num_images": 2000}, "--num_images 2000 is more than the 1297 rows"),
        ({"output": "sheet.jpg"}, "--output must end in .png"),
        ({"augmentation": "natural", "image_size": 16}, "blur has no effect on a view of 16 pixels"),
        ({"augmentation": "small", "num_channels": 1}, "saturation 0.4 has no effect on 1 channel"),
        ({"num_local_crops": 2}, "local_crop_size 96 must be at most"),
        ({"shear": 5.0, "affine_probability": 0.0}, "shear has no effect where affine_probability is 0"),
    ],
)
def test_what_can_not_be_shown_is_one_line(flags: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        preview(PreviewConfig(**flags))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
