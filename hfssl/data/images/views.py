"""Several views of each image, for methods that compare them.

B samples, V views of a group, N = B * V, C channels, H x W pixels in, S x S pixels out.

Where all images have one size, whole images are batched once and the crops of all views are cut on the device; elsewhere
each view is cropped in the worker, where the image's size is known. A crop smaller than its view is enlarged. Everything comes
from a key of the sample's key, the group's name and the view's number, so that views differ and do not depend on the batch.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import InterpolationMode
from torchvision.transforms.v2.functional import resized_crop as crop_and_resize

from hfssl.data.images.augmentation import apply, draw, view_keys
from hfssl.data.images.augmentation_config import Augmentation, View
from hfssl.data.images.config import ImageDataConfig
from hfssl.data.images.crops import crop_boxes, resized_crop
from hfssl.data.images.pixel_pipeline import Draw, PixelPipeline, nothing
from hfssl.errors import require
from hfssl.objective import Batch
from hfssl.randomness import uniform

Views = dict[str, Tensor]


class ViewsPipeline(PixelPipeline):
    """Groups of views: after `augment` a batch holds (B, V, C, S, S) float32, normalised, under each group's name.

    `eval_transform` gives whole images as `pixel_values`, as everywhere.
    """

    def __init__(self, data: ImageDataConfig, groups: Mapping[str, Sequence[View]], *, draw: Draw = nothing) -> None:
        """Raises ConfigError: sizes in a group differ, or an operation has no effect on such images."""
        super().__init__(data, draw=draw)
        self._groups = {name: list(views) for name, views in groups.items()}
        for name, views in self._groups.items():
            sizes = sorted({view.size for view in views})
            require(len(sizes) == 1, f"the views of {name} must have one size, got {sizes}")
            for view in views:
                view.augmentation.check(data.num_channels, view.size)

    def transform(self, example: Tensor, key: Tensor) -> Tensor | Views:
        """(C, H, W) uint8 -> the same, or where sizes differ each group's crops (V, C, S, S) uint8."""
        if self.uniform:
            return example
        return {name: _cropped_apart(example, key, name, views) for name, views in self._groups.items()}

    def collate(self, examples: Sequence[Tensor | Views], keys_B: Tensor) -> Batch:
        batch = self._draw(keys_B)
        if self.uniform:
            batch["images"] = torch.stack([example for example in examples if isinstance(example, Tensor)])
        for name, views in self._groups.items():
            keys_BV = view_keys(keys_B, name, len(views))
            parameters = draw([view.augmentation for view in views], keys_BV)
            if self.uniform:
                parameters |= _drawn_crops(views, keys_BV, batch["images"].shape[-2:])
            else:
                parameters["crops"] = torch.stack([example[name] for example in examples if isinstance(example, dict)])
            batch |= {f"{name}/{what}": tensor for what, tensor in parameters.items()}
        return batch

    def cut(self, batch: Batch) -> Batch:
        images = batch["images"].to(torch.float32).div_(255.0) if self.uniform else None
        prefixes = tuple(f"{name}/" for name in self._groups)
        kept = [name for name in batch if name != "images" and not name.startswith(prefixes)]
        cut = {name: batch[name] for name in kept}
        for name, views in self._groups.items():
            prefix = f"{name}/"
            parameters = {key.removeprefix(prefix): value for key, value in batch.items() if key.startswith(prefix)}
            if images is None:
                crops = parameters["crops"].to(torch.float32).div_(255.0)
            else:
                crops = _cropped_together(images, views[0].size, parameters)
            pixels_N = self.normalise_(apply(crops.flatten(0, 1), parameters), 1.0)
            cut[name] = pixels_N.unflatten(0, crops.shape[:2])
        return cut


def _cropped_apart(example: Tensor, key: Tensor, group: str, views: Sequence[View]) -> Tensor:
    """(V, C, S, S) uint8 crops of one image, mirrored where told; in the worker."""
    parameters = _drawn_crops(views, view_keys(key[None], group, len(views)), example.shape[-2:])
    crops = []
    for view, box in enumerate(parameters["boxes"][0].tolist()):
        side = views[view].size
        crop = crop_and_resize(example, *box, [side, side], InterpolationMode.BICUBIC, antialias=True)
        sides = [dim for dim, flips in ((-1, "flips"), (-2, "vertical_flips")) if bool(parameters[flips][0, view])]
        crops.append(crop.flip(sides))
    return torch.stack(crops)


def _drawn_crops(views: Sequence[View], keys_BV: Tensor, image_shape: Sequence[int]) -> dict[str, Tensor]:
    """`boxes` (B, V, 4) int64, `flips` and `vertical_flips` (B, V) bool."""
    height, width = image_shape
    columns = []
    for view, keys_B in zip(views, keys_BV.unbind(dim=1), strict=True):
        own: Augmentation = view.augmentation
        heights, widths = torch.full_like(keys_B, height), torch.full_like(keys_B, width)
        boxes = crop_boxes(keys_B, "crop", heights, widths, own.crop_scale, own.crop_ratio)
        draws = uniform(keys_B, "flip", 2)
        columns.append(
            (boxes, draws[:, 0] < own.horizontal_flip_probability, draws[:, 1] < own.vertical_flip_probability)
        )
    names = ("boxes", "flips", "vertical_flips")
    return {name: torch.stack(column, dim=1) for name, column in zip(names, zip(*columns, strict=True), strict=True)}


def _cropped_together(images: Tensor, size: int, parameters: dict[str, Tensor]) -> Tensor:
    """(B, V, C, S, S) float32 crops of whole images (B, C, H, W) in [0, 1]; a view at a time, so that no image is repeated."""
    boxes_BV4, flips_BV, vertical_BV = (parameters[name] for name in ("boxes", "flips", "vertical_flips"))
    num_samples, num_views = flips_BV.shape
    crops = images.new_empty(num_samples, num_views, images.shape[1], size, size)
    for view in range(num_views):
        crop = resized_crop(images, boxes_BV4[:, view], size, flips_BV[:, view], vertical_flips_B=vertical_BV[:, view])
        torch.clamp(crop, 0.0, 1.0, out=crops[:, view])
    return crops
