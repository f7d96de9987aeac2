"""Which tokens a masked language model has to guess, and what it sees in their place: pure functions of sample keys.

B rows, T tokens of a row, S slots. A row has S slots whatever its content, so that shapes are static; those that are not
`used` carry the label -100. Devlin et al. 2019, "BERT", section 3.1; whole words as in its later release.
"""

import math

import torch
from torch import Tensor

from hfssl.nn.masked_positions import IGNORED
from hfssl.randomness import random_bits, uniform

MASKED_SHARE, RANDOM_SHARE = 0.8, 0.1  # of the chosen tokens; the rest is left as it is (BERT, section 3.1)
_LAST = torch.iinfo(torch.int64).max
_LONGEST_WORD = 8  # tokens of a word for which there is always room
_ROUNDING = 1e-9  # 0.07 * 100 is a little more than 7 and must not become 8


def num_masked_positions(max_length: int, ratio: float, *, whole_word: bool = False) -> int:
    """The most tokens that are masked in a row of `max_length`; whole words may exceed the share by one long word."""
    share = math.ceil(ratio * max_length - _ROUNDING)
    return min(max_length, share + _LONGEST_WORD) if whole_word else share


def masked_positions_of(
    keys_B: Tensor,
    maskable_BT: Tensor,
    ratio: float,
    word_starts_BT: Tensor | None = None,
    *,
    segments_BT: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """A keyed choice of `ratio` of the maskable tokens of each row.

    The number of a row is `ratio` times its maskable tokens, rounded up or down by a keyed draw, so that the share holds
    in the mean. Of whole words each is chosen with probability `ratio`, long ones as often as short ones. A row's share
    then differs by up to the length of its longest word, and a word of more than 8 tokens may find no room. A word is a
    run of maskable tokens from one start to the next; a special token and a piece's end close it too.

    Args:
        maskable_BT: bool, false on special tokens and padding.
        ratio: in (0, 1).
        word_starts_BT: bool, the first token of each word; None masks single tokens.
        segments_BT: int64 numbers of the packed pieces, for whole words.

    Returns:
        (slots_BS int64, used_BS bool): positions, each at most once in a row; unused slots point anywhere.
    """
    slots = num_masked_positions(maskable_BT.shape[1], ratio, whole_word=word_starts_BT is not None)
    if word_starts_BT is None:
        counts_B = _counts(keys_B, maskable_BT, ratio).clamp(max=slots)
        order_BT = _keyed_order(keys_B, maskable_BT)
        used_BT = torch.arange(maskable_BT.shape[1]) < counts_B[:, None]
        return order_BT[:, :slots], used_BT[:, :slots]
    words_BT = _word_numbers(maskable_BT, word_starts_BT, segments_BT)
    lengths_BW = torch.zeros_like(words_BT).scatter_add(1, words_BT, maskable_BT.to(torch.int64))
    chosen_BT = _whole_words(keys_B, lengths_BW, ratio, slots).gather(1, words_BT) & maskable_BT
    first_BT = chosen_BT.sort(dim=1, descending=True, stable=True)
    return first_BT.indices[:, :slots], first_BT.values[:, :slots]


def corrupted(
    input_ids_BT: Tensor, slots_BS: Tensor, used_BS: Tensor, keys_B: Tensor, *, mask_id: int, vocab_size: int
) -> tuple[Tensor, Tensor]:
    """What the model sees and what it has to say at the slots.

    Of the chosen tokens 80 % become `mask_id`, 10 % a random id of the whole vocabulary, 10 % stay; keyed.

    Returns:
        (inputs_BT, labels_BS), int64; labels are the original tokens, -100 where a slot is not used.
    """
    original_BS = input_ids_BT.gather(1, slots_BS)
    fate_BS = uniform(keys_B, "mask/fate", slots_BS.shape[1])
    random_BS = random_bits(keys_B, "mask/token", slots_BS.shape[1]).remainder(vocab_size)
    unmasked_BS = torch.where(fate_BS < MASKED_SHARE + RANDOM_SHARE, random_BS, original_BS)
    seen_BS = torch.where(fate_BS < MASKED_SHARE, mask_id, unmasked_BS)
    inputs_BT = input_ids_BT.scatter(1, slots_BS, torch.where(used_BS, seen_BS, original_BS))
    return inputs_BT, original_BS.masked_fill(~used_BS, IGNORED)


def _counts(keys_B: Tensor, maskable_BT: Tensor, ratio: float) -> Tensor:
    expected_B = ratio * maskable_BT.sum(dim=1, dtype=torch.float64)
    low_B = (expected_B + _ROUNDING).floor()
    return (low_B + (uniform(keys_B, "mask/count", 1)[:, 0] < expected_B - low_B)).to(torch.int64)


def _keyed_order(keys_B: Tensor, eligible_BN: Tensor) -> Tensor:
    """Indices of the eligible in a keyed random order, then the others."""
    bits_BN = random_bits(keys_B, "mask/order", eligible_BN.shape[1])
    return bits_BN.masked_fill(~eligible_BN, _LAST).argsort(dim=1, stable=True)


def _word_numbers(maskable_BT: Tensor, word_starts_BT: Tensor, segments_BT: Tensor | None) -> Tensor:
    """0, 1, ... of the word that a maskable token belongs to; of no meaning on others."""
    starts_BT = word_starts_BT.clone()
    starts_BT[:, 1:] |= ~maskable_BT[:, :-1]
    if segments_BT is not None:
        starts_BT[:, 1:] |= segments_BT[:, 1:] != segments_BT[:, :-1]
    starts_BT[:, 0] = True
    return (starts_BT & maskable_BT).cumsum(dim=1).sub(1).clamp(min=0)


def _whole_words(keys_B: Tensor, lengths_BW: Tensor, ratio: float, slots: int) -> Tensor:
    """Which words of a row are chosen: each with probability `ratio`, whatever its length; (B, W) bool.

    Words are sorted by length, those of one length in a keyed order, and every (1 / ratio)-th is taken from a keyed start
    on (systematic sampling). The chosen tokens are then `ratio` of all to within the longest word. What does not fit into
    the slots is left out, the longest words first.
    """
    num_words_B1 = (lengths_BW > 0).sum(dim=1, keepdim=True)
    keyed_BW = _keyed_order(keys_B, lengths_BW > 0)
    waiting_BW = lengths_BW.gather(1, keyed_BW)
    by_length = waiting_BW.masked_fill(waiting_BW == 0, _LAST).sort(dim=1, stable=True)
    order_BW = keyed_BW.gather(1, by_length.indices)
    numbers_W = torch.arange(lengths_BW.shape[1] + 1, dtype=torch.float64)
    passed_BW = (ratio * numbers_W + uniform(keys_B, "mask/start", 1)).floor()
    taken_BW = (passed_BW.diff(dim=1) > 0) & (numbers_W[:-1] < num_words_B1)
    sizes_BW = by_length.values * taken_BW
    taken_BW &= sizes_BW.cumsum(dim=1) <= slots
    return torch.zeros_like(taken_BW).scatter(1, order_BW, taken_BW)
