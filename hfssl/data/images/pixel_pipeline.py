"""What every data path of images shares: rows found and cached, the processor, normalisation, whole images for evaluation."""

from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import ViTImageProcessor

from hfssl.data.images.cache import CachedImages, DecodedImages, cached
from hfssl.data.images.config import ImageDataConfig
from hfssl.data.source import Source
from hfssl.errors import require
from hfssl.objective import Batch, DataPipeline
from hfssl.randomness import sample_keys

_BICUBIC = 3  # PIL's number of the filter, as image processors store it

Draw = Callable[[Tensor], dict[str, Tensor]]


def nothing(keys_B: Tensor) -> dict[str, Tensor]:
    """For methods that draw no parameters of their own."""
    return {}


class PixelPipeline(DataPipeline):
    """Images to batches; subclasses say how they are cropped. `draw` adds the method's own parameters, from keys.

    uniform: all images are cached and of one size, so that whole images are batched and cut on the device; known after
    `prepare`.
    """

    processor: ViTImageProcessor

    def __init__(self, data: ImageDataConfig, *, draw: Draw = nothing) -> None:
        self.data = data
        self.uniform = False
        self._draw = draw
        self._data_path = "decoded at each access"
        self.processor = ViTImageProcessor(
            size={"height": data.image_size, "width": data.image_size},
            resample=_BICUBIC,
            image_mean=_per_channel(data.pixel_mean, data.num_channels),
            image_std=_per_channel(data.pixel_std, data.num_channels),
        )
        self._statistics: dict[tuple[torch.device, float], tuple[Tensor, Tensor]] = {}

    def prepare(self, source: Source) -> CachedImages | DecodedImages:
        """Images by row: from the cache where they fit on disk, else decoded at each access."""
        images, self.uniform, self._data_path = None, False, "decoded at each access"
        if self.data.cache == "auto":
            images = cached(source, num_channels=self.data.num_channels, image_size=self.data.image_size)
        if images is None:
            return DecodedImages(source, self.data.num_channels)
        self.uniform = images.uniform_size() is not None
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
        return not self.uniform

    def augment(self, batch: Batch, progress: float) -> Batch:
        device_type = batch["keys"].device.type
        with torch.autocast(device_type, enabled=False):  # a crop in half precision would band the pixels
            return self.cut(batch)

    @abstractmethod
    def cut(self, batch: Batch) -> Batch:
        """The batch with what was collected to be cropped replaced by normalised float32 pixels; in full precision."""

    def normalise_(self, pixels: Tensor, white: float) -> Tensor:
        """(pixels / white - mean) / std in place; `white` is the value of a white pixel."""
        scale, shift = self._normalisation(pixels.device, white)
        return pixels.mul_(scale).add_(shift)

    def visible(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (..., C, S, S) as people see them; uint8."""
        scale, shift = self._normalisation(pixels.device, 255.0)
        return pixels.sub(shift).div_(scale).round_().clamp_(0.0, 255.0).to(torch.uint8)

    def _normalisation(self, device: torch.device, white: float) -> tuple[Tensor, Tensor]:
        """(scale, shift), each (C, 1, 1)."""
        if (device, white) not in self._statistics:
            mean, std = torch.tensor(self.processor.image_mean), torch.tensor(self.processor.image_std)
            scale, shift = (part.view(-1, 1, 1).to(device) for part in (1.0 / (white * std), -mean / std))
            self._statistics[device, white] = scale, shift
        return self._statistics[device, white]

    def eval_transform(self, examples: Sequence[Tensor], first: int = 0) -> Batch:
        """(C, h, w) uint8 images of any sizes, resized whole by the processor; parameters as if from epoch -1."""
        ids_B = torch.arange(first, first + len(examples))
        keys_B = sample_keys(0, torch.full_like(ids_B, -1), ids_B)
        encoded = self.processor(images=list(examples), return_tensors="pt", input_data_format="channels_first")
        return {"pixel_values": encoded["pixel_values"], "sample_ids": ids_B, "keys": keys_B} | self._draw(keys_B)


def _per_channel(values: tuple[float, ...], num_channels: int) -> list[float]:
    return list(values) * num_channels if len(values) == 1 else list(values)
