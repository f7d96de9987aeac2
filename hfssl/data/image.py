"""Images on their way to a model: rows -> decoded (cached) images -> crops -> normalised batches.

B images, C channels, H x W pixels in, S x S pixels out.

Where all images have one size, whole images are batched and cropped on the device by matrix products. Where they differ,
each is cropped and resized in the worker, since only there its size is known. Boxes come from the sample's key either way.
"""

from collections.abc import Callable, Sequence
from typing import Any

import datasets
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import InterpolationMode
from torchvision.transforms.v2.functional import resized_crop as crop_and_resize
from transformers import ViTImageProcessor

from hfssl.config import require
from hfssl.data.augment import crop_boxes, resized_crop
from hfssl.data.image_cache import CachedImages, DecodedImages, cached
from hfssl.data.image_config import ImageDataConfig
from hfssl.data.source import Source, is_text, open_source
from hfssl.objective import Batch, DataSpec
from hfssl.randomness import sample_keys, uniform

_BICUBIC = 3  # PIL's number of the filter, as image processors store it
_PATH_NAMES = ("image", "path", "file", "file_name", "filename", "filepath")
_ARRAY_FEATURES = (datasets.Array2D, datasets.Array3D)

Draw = Callable[[Tensor], dict[str, Tensor]]


def image_columns(features: datasets.Features) -> list[str]:
    """Columns of images; where there is none, of 2-d and 3-d arrays; where there is none either, of paths by their name."""
    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    arrays = [name for name, feature in features.items() if isinstance(feature, _ARRAY_FEATURES)]
    texts = [name for name, feature in features.items() if is_text(feature)]
    return images or arrays or [name for name in texts if name in _PATH_NAMES]


def open_images(data: ImageDataConfig) -> Source:
    """The images that the config names. Raises ConfigError."""
    return open_source(
        data, find=image_columns, column=data.image_column, label_column=data.label_column, flag="image_column"
    )


class ImageSpec(DataSpec):
    """One random resized crop of each image, perhaps mirrored, normalised; `draw` adds the method's own parameters."""

    def __init__(
        self, data: ImageDataConfig, *, crop_scale: tuple[float, float], horizontal_flip: bool, draw: Draw
    ) -> None:
        self.data = data
        self._crop_scale = crop_scale
        self._horizontal_flip = horizontal_flip
        self._draw = draw
        self._uniform = False
        self._data_path = "decoded at each access"
        self.processor = ViTImageProcessor(
            size={"height": data.image_size, "width": data.image_size},
            resample=_BICUBIC,
            image_mean=_per_channel(data.pixel_mean, data.num_channels),
            image_std=_per_channel(data.pixel_std, data.num_channels),
        )
        self._statistics: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def prepare(self, source: Source) -> CachedImages | DecodedImages:
        """Images by row: from the cache where they fit on disk, else decoded at each access."""
        images, self._uniform, self._data_path = None, False, "decoded at each access"
        if self.data.cache == "auto":
            images = cached(source, num_channels=self.data.num_channels, image_size=self.data.image_size)
        if images is None:
            return DecodedImages(source, self.data.num_channels)
        self._uniform = images.uniform_size() is not None
        self._data_path = "cached"
        bad = images.bad_rows
        first = next(iter(bad.items()), None)
        require(len(bad) < len(images), f"none of the {len(images)} images can be decoded; row 0 {first and first[1]}")
        return images

    @property
    def data_path(self) -> str:
        return self._data_path

    @property
    def wants_workers(self) -> bool:
        """Not where whole images of one size are only gathered, to be cropped on the device."""
        return not self._uniform

    def transform(self, example: Tensor, key: Tensor) -> Tensor:
        """(C, H, W) uint8 -> the same, or the resized crop (C, S, S) where sizes differ."""
        if self._uniform:
            return example
        height, width = example.shape[1:]
        box = crop_boxes(key[None], "crop", torch.tensor([height]), torch.tensor([width]), self._crop_scale)[0]
        size = [self.data.image_size, self.data.image_size]
        return crop_and_resize(example, *box.tolist(), size, InterpolationMode.BICUBIC, antialias=True)

    def collate(self, examples: Sequence[Tensor], keys_B: Tensor) -> Batch:
        images = torch.stack(list(examples))
        batch = {"images": images, "flips": self._flips(keys_B)} | self._draw(keys_B)
        if self._uniform:
            height, width = images.shape[-2:]
            heights, widths = torch.full_like(keys_B, height), torch.full_like(keys_B, width)
            batch["boxes"] = crop_boxes(keys_B, "crop", heights, widths, self._crop_scale)
        return batch

    def _flips(self, keys_B: Tensor) -> Tensor:
        if not self._horizontal_flip:
            return torch.zeros_like(keys_B, dtype=torch.bool)
        return uniform(keys_B, "flip", 1)[:, 0] < 0.5

    def augment(self, batch: Batch, progress: float) -> Batch:
        """Adds `pixel_values` (B, C, S, S) float32, cropped, mirrored and normalised."""
        images, flips_B = batch["images"], batch["flips"]
        if self._uniform:
            pixels = resized_crop(images, batch["boxes"], self.data.image_size, flips_B).clamp(0.0, 255.0)
        else:
            pixels = torch.where(flips_B[:, None, None, None], images.flip(-1), images).to(torch.float32)
        scale, shift = self._normalisation(pixels.device)
        kept = {name: tensor for name, tensor in batch.items() if name not in ("images", "flips", "boxes")}
        return kept | {"pixel_values": pixels * scale + shift}

    def _normalisation(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """(scale, shift), each (C, 1, 1), with pixels * scale + shift = (pixels / 255 - mean) / std."""
        if device not in self._statistics:
            mean, std = torch.tensor(self.processor.image_mean), torch.tensor(self.processor.image_std)
            pair = (1.0 / (255.0 * std), -mean / std)
            self._statistics[device] = tuple(part.view(-1, 1, 1).to(device) for part in pair)  # type: ignore[assignment]
        return self._statistics[device]

    def eval_transform(self, examples: Sequence[Tensor]) -> Batch:
        """(C, h, w) uint8 images of any sizes, resized whole by the processor; parameters as if from epoch -1."""
        ids_B = torch.arange(len(examples))
        keys_B = sample_keys(0, torch.full_like(ids_B, -1), ids_B)
        encoded: Any = self.processor(images=list(examples), return_tensors="pt", input_data_format="channels_first")
        return {"pixel_values": encoded["pixel_values"], "sample_ids": ids_B, "keys": keys_B} | self._draw(keys_B)


def _per_channel(values: tuple[float, ...], num_channels: int) -> list[float]:
    return list(values) * num_channels if len(values) == 1 else list(values)
