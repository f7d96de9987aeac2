"""From images to `pixel_values`: decoded and passed through the checkpoint's processor, in worker processes where that pays.

B images of a block, C channels, H x W pixels. A worker holds few decoded images at a time, so that neither the number nor
the size of photographs shows in memory; what travels is what the model takes.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import BaseImageProcessor

from hfssl.objective import BadRowError, Examples

_MOST_DECODED_BYTES = 64_000_000
_MOST_WORKERS_CPU, _MOST_WORKERS_GPU = 8, 16
_BLOCKS_A_WORKER = 4

Sample = TypeVar("Sample")


class PixelBlock(NamedTuple):
    """rows: those that could be decoded; pixel_values: (B, C, H, W), None where none could; bad: row -> why not."""

    rows: list[int]
    pixel_values: Tensor | None
    bad: dict[int, str]


class _PixelBlocks(Dataset[PixelBlock]):
    def __init__(self, images: Examples, processor: BaseImageProcessor, batch_size: int) -> None:
        self._images = images
        self._processor = processor
        self._batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self._images) // self._batch_size)

    def __getitem__(self, index: int) -> PixelBlock:
        start = index * self._batch_size
        rows, bad, decoded, pixels = [], {}, [], []
        for row in range(start, min(start + self._batch_size, len(self._images))):
            try:
                decoded.append(self._images[row])
            except BadRowError as error:
                bad[row] = str(error)
                continue
            rows.append(row)
            if sum(image.numel() for image in decoded) > _MOST_DECODED_BYTES:
                pixels.append(processed(self._processor, decoded))
                decoded = []
        if decoded:
            pixels.append(processed(self._processor, decoded))
        return PixelBlock(rows, torch.cat(pixels) if pixels else None, bad)


def processed(processor: BaseImageProcessor, images: Sequence[Tensor]) -> Tensor:
    """(B, C, H, W) float32 of (C, h, w) uint8 images, as a plain call of the processor gives them."""
    encoded = processor(images=list(images), return_tensors="pt", input_data_format="channels_first")
    pixel_values: Tensor = encoded["pixel_values"]
    return pixel_values


def pixel_blocks(
    images: Examples, processor: BaseImageProcessor, batch_size: int, device: torch.device
) -> Iterator[PixelBlock]:
    """All images in order, `batch_size` rows a block; prepared ahead of a model on `device`."""
    blocks = _PixelBlocks(images, processor, batch_size)
    loader: DataLoader[PixelBlock] = DataLoader(
        blocks, batch_size=None, num_workers=num_workers(len(blocks), device), collate_fn=_as_it_is
    )
    yield from loader


def num_workers(num_blocks: int, device: torch.device) -> int:
    """None for few blocks, and none where a model runs on one or two cores, since they would compete for them."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        config = 0 if threads <= 2 else min(_MOST_WORKERS_CPU, threads // 2)
    else:
        config = min(_MOST_WORKERS_GPU, threads)
    return min(config, num_blocks // _BLOCKS_A_WORKER)


def _as_it_is(block: Sample) -> Sample:
    return block
