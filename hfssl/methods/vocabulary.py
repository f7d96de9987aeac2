"""Whether the rows of a checkpoint's embeddings mean the tokens of the tokenizer that reads the texts.

V rows of the checkpoint, which may be padded to a round number beyond its tokenizer's.
"""

from collections.abc import Mapping

from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from hfssl.errors import require

_REMEDY = "leave --tokenizer and --train_tokenizer out, or start without --init_from"


def check_vocabulary(tokenizer: PreTrainedTokenizerFast, checkpoint: str, num_rows: int) -> None:
    """Raise ConfigError unless each token of `tokenizer` is the same row in `checkpoint`, as far as that can be known."""
    require(
        len(tokenizer) <= num_rows,
        f"the tokenizer has {len(tokenizer)} tokens, more than the {num_rows} rows of --init_from {checkpoint}: {_REMEDY}",
    )
    try:
        known: Mapping[str, int] = AutoTokenizer.from_pretrained(checkpoint).get_vocab()
    except (OSError, ValueError, KeyError):
        return  # it brings no tokenizer
    taken = set(known.values())
    other = next(
        (token for token, row in tokenizer.get_vocab().items() if row in taken and known.get(token) != row), None
    )
    require(
        other is None,
        f"the tokenizer is not that of --init_from {checkpoint}: {other!r} is another row there; {_REMEDY}",
    )


def first_rows(name: str, stored: Tensor, own: Tensor, *, num_rows: int) -> Tensor:
    """What fits into `own` of a stored tensor with a row per token; any other tensor, whatever its name, as it is."""
    is_padded = stored.shape[1:] == own.shape[1:] and len(own) < len(stored) == num_rows if stored.ndim else False
    return stored[: len(own)] if is_padded else stored
