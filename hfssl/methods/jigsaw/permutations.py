"""Sets of permutations of jigsaw tiles that differ from each other in many places, as subsets of groups.

The difference of two elements of a permutation group is how many places their quotient moves; a group that moves every place
but k - 1 at least has a minimum Hamming distance of n - k + 1. For 9 tiles: the shifts of Z9, the affine maps of the field
of nine elements, PSL(2, 8) on the projective line over the field of eight, and the latter with the field's squaring; for 4
tiles Z4, the even permutations, and all (Dixon & Mortimer 1996, "Permutation groups", section 7.6).

P permutations, T tiles.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Permutation = tuple[int, ...]
_INFINITY = 8


class Family(NamedTuple):
    """A group: how many permutations it has, how far apart they are at least, and what generates it."""

    size: int
    distance: int
    generators: tuple[Permutation, ...]


def _times_in_8(a: int, b: int) -> int:
    """Product in the field of eight elements: polynomials over two elements as bits, modulo x^3 + x + 1."""
    product = 0
    for bit in range(3):
        product ^= (a << bit) if b >> bit & 1 else 0
    for bit in (4, 3):
        product ^= (0b1011 << (bit - 3)) if product >> bit & 1 else 0
    return product


def _on_the_line(finite: Callable[[int], int]) -> Permutation:
    """A map of the projective line over eight elements that keeps infinity."""
    return (*(finite(x) for x in range(8)), _INFINITY)


def _affine_in_9(a: tuple[int, int], b: tuple[int, int]) -> Permutation:
    """x -> a x + b in the field of nine elements, u + v i over three elements with i^2 = -1."""
    images = []
    for u, v in ((x // 3, x % 3) for x in range(9)):
        real, imaginary = a[0] * u - a[1] * v + b[0], a[0] * v + a[1] * u + b[1]
        images.append(real % 3 * 3 + imaginary % 3)
    return tuple(images)


_INVERSES = tuple(next(y for y in range(8) if _times_in_8(x, y) == 1) for x in range(1, 8))
_PSL_2_8 = (
    _on_the_line(lambda x: x ^ 1),
    _on_the_line(lambda x: _times_in_8(2, x)),
    (_INFINITY, *_INVERSES, 0),  # x -> 1 / x
)
_SQUARING = _on_the_line(lambda x: _times_in_8(x, x))

FAMILIES: dict[int, tuple[Family, ...]] = {  # by number of tiles, the farthest apart first
    4: (
        Family(4, 4, ((1, 2, 3, 0),)),
        Family(12, 3, ((1, 0, 3, 2), (1, 2, 0, 3))),
        Family(24, 2, ((1, 2, 3, 0), (1, 0, 2, 3))),
    ),
    9: (
        Family(9, 9, ((1, 2, 3, 4, 5, 6, 7, 8, 0),)),
        Family(72, 8, (_affine_in_9((1, 0), (1, 0)), _affine_in_9((1, 1), (0, 0)))),
        Family(504, 7, _PSL_2_8),
        Family(1512, 6, (*_PSL_2_8, _SQUARING)),
    ),
}


def family_for(num_tiles: int, num_permutations: int) -> Family:
    """The one farthest apart that has so many."""
    return next(family for family in FAMILIES[num_tiles] if family.size >= num_permutations)


def permutation_set(num_tiles: int, num_permutations: int) -> Tensor:
    """(P, T) int64, any two at least `family_for(...).distance` places apart; drawn by torch's generator from the family,
    whose tiles are renumbered."""
    family = family_for(num_tiles, num_permutations)
    elements_PT = torch.tensor(sorted(_closure(family.generators)))
    assert len(elements_PT) == family.size
    chosen_PT = elements_PT[torch.randperm(family.size)[:num_permutations]]
    return torch.randperm(num_tiles)[chosen_PT][:, torch.randperm(num_tiles)]


def _closure(generators: tuple[Permutation, ...]) -> set[Permutation]:
    found: set[Permutation] = set()
    newest = [tuple(range(len(generators[0])))]
    while newest:
        found.update(newest)
        products = {_after(generator, element) for element in newest for generator in generators}
        newest = list(products - found)
    return found


def _after(second: Permutation, first: Permutation) -> Permutation:
    return tuple(second[place] for place in first)
