"""Held-out parts where a data set brings none: by class, and with whole groups on one side. N rows."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from hfssl.errors import require
from hfssl.objective import Array

_NAMED_CLASSES = 5


def held_out_rows(labels_N: Array, groups_N: Array | None, share: float, seed: int) -> Array:
    """(N,) bool, true for about `share` of each class; rows of one group (a patient, a video) are never separated.

    Raises:
        ConfigError: a side would be left without a class.
    """
    sides = _Sides(labels_N, groups_N, seed)
    sides.fill(share)
    held_out = sides.held_out()
    for label in np.unique(labels_N):
        found = set(held_out[labels_N == label].tolist())
        require(len(found) == 2, f"the class {label} has too few rows or groups to hold out {share:.0%} of it")
    return held_out


class Split(NamedTuple):
    """Numbers of rows, ascending; `test` is empty where none was asked for. `sentence` says how they were chosen."""

    train: Array
    validation: Array
    test: Array
    sentence: str


def split_rows(
    labels_N: Array, groups_N: Array | None, *, validation_share: float, test_share: float = 0.0, seed: int
) -> Split:
    """Training, validation and test rows, with about their share of each class each; rows of one group stay together.

    Training has every class, validation those of two rows or more, test those of three or more. With groups it is two and three
    groups that a class needs, and groups of several classes may stand in the way. The sentence names the classes that a side
    is without.

    Args:
        labels_N: classes, by number or by the name that the sentence shall have; all equal for rows without classes.

    Raises:
        ConfigError: shares that leave nothing to train on, or a side that would be empty.
    """
    require(
        0 < validation_share < 1 and 0 <= test_share < 1 and validation_share + test_share < 1,
        f"shares held out must be above 0 and together below 1, got {validation_share} for validation and {test_share} for test",
    )
    rest, test = np.arange(len(labels_N)), np.zeros(0, dtype=np.int64)
    if test_share:
        rest, test = _divided(rest, _Sides(labels_N, groups_N, seed, fewest_left=2), test_share)
    groups_of_rest = None if groups_N is None else groups_N[rest]
    train, validation = _divided(
        rest, _Sides(labels_N[rest], groups_of_rest, seed), validation_share / (1 - test_share)
    )
    return Split(train, validation, test, _sentence(labels_N, groups_N is not None, (train, validation, test), seed))


def _divided(rows: Array, sides: "_Sides", share: float) -> tuple[Array, Array]:
    """`rows` as those that stay and those held out."""
    sides.fill(share)
    sides.complete()
    held_out = sides.held_out()
    require(
        bool(held_out.any()),
        f"{len(rows)} rows cannot be split: some class must have {sides.fewest_left + 1} rows (with groups: as many groups) "
        "for one to be held out; bring more rows, or a split of your own",
    )
    return rows[~held_out], rows[held_out]


def _sentence(labels_N: Array, has_groups: bool, sides: tuple[Array, ...], seed: int) -> str:
    names = ("training", "validation", "test")
    parts = [f"{len(side)} rows for {name}" for side, name in zip(sides, names, strict=True) if len(side)]
    classes = np.unique(labels_N).tolist()
    how = ["by class"] * (len(classes) > 1) + ["whole groups on one side"] * has_groups + [f"seed {seed}"]
    sentence = f"made here: {', '.join(parts[:-1])} and {parts[-1]} ({', '.join(how)})"
    for side, name in zip(sides[1:], names[1:], strict=True):
        present = set(np.unique(labels_N[side]).tolist())
        absent = [str(label) for label in classes if label not in present]
        if len(side) and absent:
            more = f" and {len(absent) - _NAMED_CLASSES} more" if len(absent) > _NAMED_CLASSES else ""
            sentence += f"; too few rows or groups for {name}: {', '.join(absent[:_NAMED_CLASSES])}{more}"
    return sentence


class _Sides:
    """Groups that go from training to the held-out side, one by one in a drawn order; `fewest_left` of each class stay."""

    def __init__(self, labels_N: Array, groups_N: Array | None, seed: int, fewest_left: int = 1) -> None:
        self.fewest_left = fewest_left
        labels = np.unique(labels_N, return_inverse=True)[1]
        self.group_N = np.arange(len(labels)) if groups_N is None else np.unique(groups_N, return_inverse=True)[1]
        num_groups = int(self.group_N.max(initial=-1)) + 1
        self.order = np.random.default_rng(seed).permutation(np.arange(num_groups)).tolist()
        self.class_sizes = Counter(labels.tolist())
        self.inside: list[Counter[int]] = [Counter() for _ in range(num_groups)]
        for group, label in zip(self.group_N.tolist(), labels.tolist(), strict=True):
            self.inside[group][label] += 1
        self.groups_left = Counter(label for counts in self.inside for label in counts)
        self.has_moved = np.zeros(num_groups, dtype=bool)
        self.held_out_classes: set[int] = set()

    def may_move(self, group: int) -> bool:
        left = self.groups_left
        return not self.has_moved[group] and all(left[label] > self.fewest_left for label in self.inside[group])

    def move(self, group: int) -> None:
        self.has_moved[group] = True
        self.groups_left.subtract(self.inside[group].keys())
        self.held_out_classes |= self.inside[group].keys()

    def fill(self, share: float) -> None:
        """About `share` of each class: a group goes where it brings each of its classes nearer to that."""
        config = {label: share * count for label, count in self.class_sizes.items()}
        for group in self.order:
            counts = self.inside[group]
            if self.may_move(group) and all(config[label] >= count / 2 for label, count in counts.items()):
                self.move(group)
                for label, count in counts.items():
                    config[label] -= count

    def complete(self) -> None:
        """Classes that have nothing held out, the rarest first, give the smallest group that may go."""
        groups_of: dict[int, list[int]] = {label: [] for label in self.class_sizes}
        for group in sorted(self.order, key=lambda group: self.inside[group].total()):
            for label in self.inside[group]:
                groups_of[label].append(group)
        for label in sorted(self.class_sizes, key=lambda label: (self.class_sizes[label], label)):
            if label in self.held_out_classes:
                continue
            found = next(filter(self.may_move, groups_of[label]), None)
            if found is not None:
                self.move(found)

    def held_out(self) -> Array:
        """(N,) bool."""
        held_out: Array = self.has_moved[self.group_N]
        return held_out
