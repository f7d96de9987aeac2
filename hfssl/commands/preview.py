"""A sheet of what a model will see: images of the user's own data next to their views.

B images, V views, C channels, S x S pixels.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from hfssl.commands.preview_config import PreviewConfig
from hfssl.console import quieten_libraries
from hfssl.data.images.augmentation_config import View
from hfssl.data.images.source import open_images
from hfssl.data.images.views import ViewsPipeline
from hfssl.data.loader import KeyedDataset
from hfssl.errors import require
from hfssl.figures.image_sheet import SheetCell, image_sheet, shrunk

_CAPTIONS = {"global_crops": "view", "local_crops": "local"}


def preview(config: PreviewConfig) -> Path:
    """Write the sheet, a line an image, and print what is done to a view; returns the file.

    Raises:
        ConfigError: the data cannot be opened.
    """
    quieten_libraries()
    source = open_images(config.image_data())
    require(config.num_images <= len(source), f"--num_images {config.num_images} is more than the {len(source)} rows")
    pipeline = ViewsPipeline(config.image_data(), config.views())
    rows = KeyedDataset(pipeline.prepare(source), pipeline, config.seed)
    ids = torch.linspace(0, len(source) - 1, config.num_images, dtype=torch.float64).to(torch.int64)
    batch = pipeline.augment(rows.__getitems__((torch.full_like(ids, config.epoch), ids)), 0.0)
    lines = []
    for place, row in enumerate(batch["sample_ids"].tolist()):
        original = SheetCell(shrunk(rows.examples[row]), "original", framed=True)
        lines.append((f"row {row}", [original, *_cells(pipeline, batch, place, config.views())]))
    output = Path(config.output)
    image_sheet(output, lines)
    print(*_described(config), f"written to {output}", sep="\n")
    return output


def _cells(
    pipeline: ViewsPipeline, batch: dict[str, Tensor], place: int, groups: Mapping[str, Sequence[View]]
) -> list[SheetCell]:
    """The views of one image; small crops stand on white, as small as they are next to the global ones."""
    side = max(view.size for views in groups.values() for view in views)
    cells = []
    for name in groups:
        for number, pixels in enumerate(batch[name][place]):
            visible = pipeline.visible(pixels)
            canvas = torch.full((len(visible), side, side), 255, dtype=torch.uint8)
            start = (side - visible.shape[-1]) // 2
            canvas[:, start : start + visible.shape[-2], start : start + visible.shape[-1]] = visible
            cells.append(SheetCell(shrunk(canvas), f"{_CAPTIONS[name]} {number + 1}"))
    return cells


def _described(config: PreviewConfig) -> list[str]:
    """A line a setting: what is done to the views, in the order in which it is done."""
    lines = [f"{config.preset} at {config.image_data().image_size} pixels"]
    settings = [view.augmentation.effective() for view in config.views()["global_crops"]]
    for name in dict.fromkeys(name for setting in settings for name in setting):
        values = [setting.get(name, 0.0) for setting in settings]
        shown = values[:1] if len(set(values)) == 1 else values
        lines.append(f"  {name:28} " + ", ".join(_plain(value) for value in shown))
    return lines


def _plain(value: float | tuple[float, float]) -> str:
    return f"{value[0]:g} to {value[1]:g}" if isinstance(value, tuple) else f"{value:g}"
