"""Labels beside images: what a classifier trains on.

B samples, C classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hfssl.config import require
from hfssl.data.augmentation_config import View
from hfssl.data.image_config import ImageDataConfig
from hfssl.data.source import Source
from hfssl.data.views import Views, ViewsSpec
from hfssl.objective import Batch, Examples

Array = np.ndarray[Any, Any]


class Labelled:
    """Examples with the number of their class."""

    def __init__(self, examples: Examples, numbers_N: Array) -> None:
        self.examples = examples
        self.numbers_N = numbers_N

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """Raises BadRowError."""
        return self.examples[index], int(self.numbers_N[index])


def class_names_of(source: Source) -> list[str]:
    """The classes of a labelled split, in the order of their numbers or of the alphabet.

    Raises:
        ConfigError: no labels, or a single class.
    """
    require(source.label_column is not None, "the data has no column of class labels: name one with --label_column")
    assert source.label_column is not None
    labels = source.labels()
    require(labels is not None, f"labels of the split {source.split} are missing, or withheld as -1")
    assert labels is not None
    known = getattr(source.rows.features[source.label_column], "names", None)
    names = list(known) if known is not None else [str(label) for label in np.unique(labels)]
    require(len(np.unique(labels)) > 1, f"all rows of the split {source.split} are {names[0]}: nothing to tell apart")
    return names


def class_numbers(source: Source, class_names: Sequence[str]) -> Array:
    """(N,) int64, the place of each row's class in `class_names`.

    Raises:
        ConfigError: labels are missing, or one is not among the classes.
    """
    labels = source.labels()
    require(labels is not None, f"labels of the split {source.split} are missing, or withheld as -1")
    assert labels is not None
    places = {name: place for place, name in enumerate(class_names)}
    names = [source.label_name(label) for label in labels.tolist()]
    unseen = sorted(set(names) - places.keys())
    require(
        not unseen, f"the split {source.split} has labels that the training rows do not have: {', '.join(unseen[:5])}"
    )
    return np.array([places[name] for name in names], dtype=np.int64)


class LabelledImages(ViewsSpec):
    """One augmented view of each image as `pixel_values` (B, C, S, S), and `labels` (B,) int64."""

    def __init__(self, data: ImageDataConfig, groups: Mapping[str, Sequence[View]], class_names: Sequence[str]) -> None:
        super().__init__(data, groups)
        self.class_names = list(class_names)

    def prepare(self, source: Source) -> Labelled:  # type: ignore[override]
        return Labelled(super().prepare(source), class_numbers(source, self.class_names))

    def transform(self, example: tuple[Tensor, int], key: Tensor) -> tuple[Tensor | Views, int]:  # type: ignore[override]
        image, number = example
        return super().transform(image, key), number

    def collate(self, examples: Sequence[tuple[Tensor | Views, int]], keys_B: Tensor) -> Batch:  # type: ignore[override]
        images, numbers = zip(*examples, strict=True)
        return super().collate(images, keys_B) | {"labels": torch.tensor(numbers)}

    def cut(self, batch: Batch) -> Batch:
        cut = super().cut(batch)
        return cut | {"pixel_values": cut.pop("global_crops")[:, 0]}

    def eval_transform(self, examples: Sequence[tuple[Tensor, int]], first: int = 0) -> Batch:  # type: ignore[override]
        images, numbers = zip(*examples, strict=True)
        return super().eval_transform(images, first) | {"labels": torch.tensor(numbers)}
