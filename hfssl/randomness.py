"""Stateless random numbers: every draw is a pure function of (seed, epoch, sample id, stream name).

B samples, N draws.

splitmix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators", figure 17) on int64 tensors:
torch's int64 wraps like uint64, and a logical shift is an arithmetic one with the sign bits masked away. No generator is
carried along, so a crop or a mask is the same for any number of workers, processes and accumulation steps, and a resumed
run needs only its step.
"""

import hashlib
import math

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_MASK = (1 << 64) - 1
_INVERSES = tuple(pow(multiplier, -1, 1 << 64) for multiplier in _MULTIPLIERS)
LARGEST_SORTED_EPOCH = 10_000_000  # above it a Feistel network orders the epoch; a change would reorder existing runs
_FEISTEL_ROUNDS = 8


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _shift_right(bits: Tensor, places: int) -> Tensor:
    return (bits >> places) & ((1 << (64 - places)) - 1)


def splitmix64(values: Tensor) -> Tensor:
    """The splitmix64 output for each int64 state; same shape, int64."""
    mixed = values + _signed(_GOLDEN)
    mixed = (mixed ^ _shift_right(mixed, 30)) * _signed(_MULTIPLIERS[0])
    mixed = (mixed ^ _shift_right(mixed, 27)) * _signed(_MULTIPLIERS[1])
    return mixed ^ _shift_right(mixed, 31)


def inverse_splitmix64(values: Tensor) -> Tensor:
    """The state behind each splitmix64 output, which is a bijection of 64 bits; same shape, int64."""
    mixed = values ^ _shift_right(values, 31) ^ _shift_right(values, 62)
    mixed = mixed * _signed(_INVERSES[1])
    mixed = (mixed ^ _shift_right(mixed, 27) ^ _shift_right(mixed, 54)) * _signed(_INVERSES[0])
    return (mixed ^ _shift_right(mixed, 30) ^ _shift_right(mixed, 60)) - _signed(_GOLDEN)


def splitmix64_int(value: int) -> int:
    """The same for one Python integer: a signed 64-bit result."""
    mixed = (value + _GOLDEN) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * _MULTIPLIERS[0]) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * _MULTIPLIERS[1]) & _MASK
    return _signed(mixed ^ (mixed >> 31))


def combine(*values: int) -> int:
    """One signed 64-bit key out of several integers; their order matters."""
    key = 0
    for value in values:
        key = splitmix64_int(key ^ (value & _MASK))
    return key


def stream_id(name: str) -> int:
    """The 64-bit number of a stream name, the same in every process and Python version."""
    return _signed(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little"))


def sample_keys(seed: int, epochs_B: Tensor, sample_ids_B: Tensor) -> Tensor:
    """One int64 key for each (epoch, sample id) of a run with `seed`; shape (B,)."""
    return splitmix64(splitmix64(epochs_B ^ combine(seed, stream_id("sample"))) ^ sample_ids_B)


def epoch_keys(keys_B: Tensor, sample_ids_B: Tensor) -> Tensor:
    """What the `sample_keys` of one epoch have in common, found again from some of them and their ids; (B,) int64.

    For draws that several samples of an epoch share.
    """
    return inverse_splitmix64(keys_B) ^ sample_ids_B


def random_bits(keys_B: Tensor, stream: str, num: int) -> Tensor:
    """64 random bits for each of `num` draws; (B, N) int64."""
    bases_B = splitmix64(keys_B ^ stream_id(stream))
    counters_N = torch.arange(1, num + 1, dtype=torch.int64, device=keys_B.device) * _signed(_GOLDEN)
    return splitmix64(bases_B[:, None] + counters_N)


def uniform(keys_B: Tensor, stream: str, num: int) -> Tensor:
    """Uniform numbers in [0, 1) from the top 24 bits, exact in float32; (B, N)."""
    return _shift_right(random_bits(keys_B, stream, num), 40).to(torch.float32) * 2.0**-24


def normal(keys_B: Tensor, stream: str, num: int) -> Tensor:
    """Standard normal numbers by the transform of Box & Muller (1958), two from each 64 bits; (B, N) float32.

    Equal on every device but for the last bits of its logarithm, sine and cosine.
    """
    bits = random_bits(keys_B, stream, (num + 1) // 2)
    radii = ((bits >> 40) & 0xFFFFFF).add_(1).to(torch.float32).mul_(2.0**-24).log_().mul_(-2.0).sqrt_()
    angles = (bits & 0xFFFFFF).to(torch.float32).mul_(2.0 * math.pi * 2.0**-24)
    return torch.cat([radii * angles.cos(), radii * angles.sin()], dim=1)[:, :num]


def random_ranks(keys_B: Tensor, stream: str, num: int) -> Tensor:
    """A random permutation of 0..num-1 for each key, without ties on any device; (B, N) int64."""
    return random_bits(keys_B, stream, num).argsort(dim=1, stable=True).argsort(dim=1)


class DataOrder:
    """Which sample stands at which position of an endless pass over `num_rows` rows: a keyed permutation an epoch."""

    def __init__(self, num_rows: int, seed: int) -> None:
        self.num_rows = num_rows
        self.seed = seed
        self._permutations: dict[int, Tensor] = {}

    def at(self, positions_B: Tensor) -> tuple[Tensor, Tensor]:
        """(epochs, sample ids) of int64 `positions_B`; both (B,) int64. Epochs follow each other without a gap."""
        epochs_B = positions_B // self.num_rows
        offsets_B = positions_B % self.num_rows
        sample_ids_B = torch.empty_like(offsets_B)
        for epoch in epochs_B.unique().tolist():
            chosen_B = epochs_B == epoch
            sample_ids_B[chosen_B] = self._permuted(int(epoch), offsets_B[chosen_B])
        return epochs_B, sample_ids_B

    def _permuted(self, epoch: int, offsets_B: Tensor) -> Tensor:
        key = combine(self.seed, stream_id("order"), epoch)
        if self.num_rows > LARGEST_SORTED_EPOCH:
            return feistel_permutation(offsets_B, self.num_rows, key)
        if epoch not in self._permutations:
            if len(self._permutations) == 2:  # a batch straddles two epochs at the most
                del self._permutations[min(self._permutations)]
            self._permutations[epoch] = random_bits(torch.tensor([key]), "epoch", self.num_rows)[0].argsort(stable=True)
        return self._permutations[epoch][offsets_B]


def feistel_permutation(values_B: Tensor, size: int, key: int) -> Tensor:
    """A keyed bijection of [0, size) without memory: a balanced Feistel network that walks its cycles (Black & Rogaway
    2002, "Ciphers with arbitrary finite domains", section 3) until it lands inside. int64 in, int64 out."""
    half_bits = max(1, ((size - 1).bit_length() + 1) // 2)
    half_mask = (1 << half_bits) - 1
    round_keys = [combine(key, number) for number in range(_FEISTEL_ROUNDS)]
    walked_B = values_B
    outside_B = torch.ones_like(values_B, dtype=torch.bool)
    while bool(outside_B.any()):
        left_B, right_B = walked_B >> half_bits, walked_B & half_mask
        for round_key in round_keys:
            left_B, right_B = right_B, left_B ^ (splitmix64(right_B ^ round_key) & half_mask)
        walked_B = torch.where(outside_B, (left_B << half_bits) | right_B, walked_B)
        outside_B = walked_B >= size
    return walked_B
