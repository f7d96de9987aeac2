"""Images with labels: what a classifier trains on.

B samples, C classes.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import betaincinv
from torch import Tensor

from hfssl.data.images.augmentation_config import View
from hfssl.data.images.config import ImageDataConfig
from hfssl.data.images.views import Views, ViewsPipeline
from hfssl.data.labels import Labelled, class_counts, class_numbers
from hfssl.data.source import Source
from hfssl.objective import BadRowError, Batch
from hfssl.randomness import random_bits, uniform


class Blend(NamedTuple):
    """How images are blended in pairs; an alpha of 0 is never. Where both are set, each is done to half of the images.

    mixup: alpha of the symmetric Beta distribution of an image's share (Zhang et al. 2018, arXiv 1710.09412, equation 1).
    cutmix: the same of a share of area: a box of the partner's pixels is put into the image (Yun et al. 2019, arXiv 1905.04899,
    equations 1 and 2).
    """

    mixup: float = 0.0
    cutmix: float = 0.0

    @property
    def is_done(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0


NO_BLEND = Blend()


class LabelledImages(ViewsPipeline):
    """One augmented view of each image as `pixel_values` (B, C, S, S), and `labels` (B,) int64.

    With a blend also `partner_labels` (B,) and `shares` (B,), the share of an image's own label. A partner is drawn from the
    whole of the rows by the image's key, so that it does not depend on the batch.
    counts_C: rows of each class, known after `prepare`.
    """

    def __init__(
        self,
        data: ImageDataConfig,
        groups: Mapping[str, Sequence[View]],
        class_names: Sequence[str],
        blend: Blend = NO_BLEND,
    ) -> None:
        super().__init__(data, groups)
        self.class_names = list(class_names)
        self.counts_C = np.zeros(len(class_names), dtype=np.int64)
        self._blend = blend
        self._examples: Labelled | None = None

    def prepare(self, source: Source) -> Labelled:  # type: ignore[override]
        numbers_N = class_numbers(source, self.class_names)
        self.counts_C = class_counts(numbers_N, len(self.class_names))
        self._examples = Labelled(super().prepare(source), numbers_N)
        return self._examples

    def transform(self, example: tuple[Tensor, int], key: Tensor) -> list[tuple[Tensor | Views, int]]:  # type: ignore[override]
        """The sample, and with a blend its partner."""
        image, number = example
        own = super().transform(image, key), number
        if not self._blend.is_done:
            return [own]
        assert self._examples is not None
        partner = int(uniform(key[None], "partner", 1) * len(self._examples))
        with suppress(BadRowError):  # else it is its own partner
            image, number = self._examples[partner]
        return [own, (super().transform(image, _partner_keys(key[None])[0]), number)]

    def collate(self, examples: Sequence[list[tuple[Tensor | Views, int]]], keys_B: Tensor) -> Batch:  # type: ignore[override]
        images, numbers = zip(*(pair[0] for pair in examples), strict=True)
        if not self._blend.is_done:
            return super().collate(images, keys_B) | {"labels": torch.tensor(numbers)}
        partners, partner_numbers = zip(*(pair[1] for pair in examples), strict=True)
        batch = super().collate([*images, *partners], torch.cat([keys_B, _partner_keys(keys_B)]))
        batch |= {"labels": torch.tensor(numbers), "partner_labels": torch.tensor(partner_numbers)}
        return batch | _drawn_blends(keys_B, self._blend, self.data.image_size)

    def cut(self, batch: Batch) -> Batch:
        cut = super().cut(batch)
        pixels = cut.pop("global_crops")[:, 0]
        if "blend_boxes" in cut:
            own, partner = pixels.chunk(2)
            pixels = _blended(own, partner, cut["shares"], cut.pop("blend_boxes"))
        return cut | {"pixel_values": pixels}

    def eval_transform(self, examples: Sequence[tuple[Tensor, int]], first: int = 0) -> Batch:  # type: ignore[override]
        images, numbers = zip(*examples, strict=True)
        return super().eval_transform(images, first) | {"labels": torch.tensor(numbers)}

    def shown(self, example: tuple[Tensor, int]) -> Tensor:
        """A sample for people, (C, H, W) uint8."""
        return example[0]


def _partner_keys(keys_B: Tensor) -> Tensor:
    return random_bits(keys_B, "partner crop", 1)[:, 0]


def _drawn_blends(keys_B: Tensor, blend: Blend, side: int) -> Batch:
    """`shares` (B,) float32 of the own image; `blend_boxes` (B, 4) int64 (top, bottom, left, right), empty for mixup."""
    draws = uniform(keys_B, "blend", 4).double().numpy()
    cuts_B = draws[:, 0] < 0.5 if blend.mixup and blend.cutmix else np.full(len(draws), blend.cutmix > 0)
    alphas_B = np.where(cuts_B, blend.cutmix or 1.0, blend.mixup or 1.0)
    shares_B = betaincinv(alphas_B, alphas_B, draws[:, 1])
    lengths_B = np.sqrt(1.0 - shares_B) * side * cuts_B
    centres_B2 = draws[:, 2:] * side
    starts_B2 = np.clip(np.round(centres_B2 - lengths_B[:, None] / 2), 0, side)
    ends_B2 = np.clip(np.round(centres_B2 + lengths_B[:, None] / 2), 0, side)
    boxes_B4 = np.stack([starts_B2, ends_B2], axis=2).reshape(-1, 4)
    own_area_B = 1.0 - (ends_B2 - starts_B2).prod(axis=1) / side**2  # what the image's edge leaves of the box
    shares_B = np.where(cuts_B, own_area_B, shares_B)
    return {"shares": torch.from_numpy(shares_B).float(), "blend_boxes": torch.from_numpy(boxes_B4).long()}


def _blended(own: Tensor, partner: Tensor, shares_B: Tensor, boxes_B4: Tensor) -> Tensor:
    """(B, C, S, S): inside a box the partner; without one the sum of both by their shares."""
    place = torch.arange(own.shape[-1], device=own.device)
    top, bottom, left, right = boxes_B4.unbind(dim=1)
    inside_BS = (place >= top[:, None]) & (place < bottom[:, None])
    across_BS = (place >= left[:, None]) & (place < right[:, None])
    inside_B1SS = (inside_BS[:, :, None] & across_BS[:, None, :])[:, None]
    is_cut_B = (bottom > top) & (right > left)
    own_share_B111 = torch.where(is_cut_B, 1.0, shares_B)[:, None, None, None]
    mixed = own * own_share_B111 + partner * (1 - own_share_B111)
    return torch.where(inside_B1SS, partner, mixed)
