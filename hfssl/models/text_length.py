"""How many tokens of a text a checkpoint can read: what its tokenizer allows and what its model has positions for."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

LONGEST = 512  # tokens, where neither model nor tokenizer names a limit
_NO_LIMIT = 1_000_000  # what tokenizers call their limit where they have none is above


def longest_text(model_config: "PretrainedConfig", tokenizer: "PreTrainedTokenizerBase") -> int:
    """The smaller of both limits, special tokens included; 512 where neither names one."""
    limits = [positions_of(model_config), tokenizer_limit(tokenizer)]
    return min((limit for limit in limits if limit is not None), default=LONGEST)


def positions_of(model_config: "PretrainedConfig") -> int | None:
    """Tokens that the model has positions for; RoBERTa and its kin count from the padding id on."""
    positions = getattr(model_config.get_text_config(), "max_position_embeddings", None)
    if not isinstance(positions, int) or positions < 1:
        return None
    return positions - 2 if getattr(model_config, "pad_token_id", None) == 1 else positions


def tokenizer_limit(tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """Where a plain call with `truncation=True` cuts."""
    limit = int(tokenizer.model_max_length)
    return limit if limit < _NO_LIMIT else None
