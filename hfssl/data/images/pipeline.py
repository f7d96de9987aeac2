"""Images on their way to a model: rows -> decoded (cached) images -> crops -> normalised batches.

B images, C channels, H x W pixels in, S x S pixels out.

Where all images have one size, whole images are batched and cropped on the device by matrix products. Where they differ,
each is cropped and resized in the worker, since only there its size is known. Boxes come from the sample's key either way.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import InterpolationMode
from torchvision.transforms.v2.functional import resized_crop as crop_and_resize

from hfssl.data.images.config import ImageDataConfig
from hfssl.data.images.crops import crop_boxes, resized_crop
from hfssl.data.images.pixel_pipeline import Draw, PixelPipeline
from hfssl.objective import Batch
from hfssl.randomness import uniform


class ImagePipeline(PixelPipeline):
    """One random resized crop of each image, perhaps mirrored, normalised; `draw` adds the method's own parameters."""

    def __init__(
        self, data: ImageDataConfig, *, crop_scale: tuple[float, float], horizontal_flip: bool, draw: Draw
    ) -> None:
        super().__init__(data, draw=draw)
        self._crop_scale = crop_scale
        self._horizontal_flip = horizontal_flip

    def transform(self, example: Tensor, key: Tensor) -> Tensor:
        """(C, H, W) uint8 -> the same, or the resized crop (C, S, S) where sizes differ."""
        if self.uniform:
            return example
        height, width = example.shape[1:]
        box = crop_boxes(key[None], "crop", torch.tensor([height]), torch.tensor([width]), self._crop_scale)[0]
        size = [self.data.image_size, self.data.image_size]
        return crop_and_resize(example, *box.tolist(), size, InterpolationMode.BICUBIC, antialias=True)

    def collate(self, examples: Sequence[Tensor], keys_B: Tensor) -> Batch:
        images = torch.stack(list(examples))
        batch = {"images": images, "flips": self._flips(keys_B)} | self._draw(keys_B)
        if self.uniform:
            height, width = images.shape[-2:]
            heights, widths = torch.full_like(keys_B, height), torch.full_like(keys_B, width)
            batch["boxes"] = crop_boxes(keys_B, "crop", heights, widths, self._crop_scale)
        return batch

    def _flips(self, keys_B: Tensor) -> Tensor:
        if not self._horizontal_flip:
            return torch.zeros_like(keys_B, dtype=torch.bool)
        return uniform(keys_B, "flip", 1)[:, 0] < 0.5

    def cut(self, batch: Batch) -> Batch:
        """Adds `pixel_values` (B, C, S, S) float32, cropped, mirrored and normalised."""
        images, flips_B = batch["images"], batch["flips"]
        if self.uniform:
            pixels = resized_crop(images, batch["boxes"], self.data.image_size, flips_B).clamp_(0.0, 255.0)
        else:
            pixels = torch.where(flips_B[:, None, None, None], images.flip(-1), images).to(torch.float32)
        kept = {name: tensor for name, tensor in batch.items() if name not in ("images", "flips", "boxes")}
        return kept | {"pixel_values": self.normalise_(pixels, 255.0)}
