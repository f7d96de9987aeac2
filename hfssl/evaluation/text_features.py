"""Features of a text checkpoint, loaded with plain `from_pretrained`: AutoModel, its tokenizer, and one vector a document.

N documents, B of a batch, T tokens, D width.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BatchEncoding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from hfssl.checkpoints.adapter_files import adapter_at
from hfssl.checkpoints.locate import loading
from hfssl.errors import require
from hfssl.models.pooler import untrained
from hfssl.models.stock_encoder import ready
from hfssl.models.text_length import longest_text
from hfssl.objective import Array
from hfssl.run_dir import Json, JsonView

BATCH = 64
_USUAL_LENGTH = 512  # tokens of a text; longer ones go through the encoder in smaller batches
_COUNTED_AT_ONCE = 1000


class TextEncoder(NamedTuple):
    """A loaded checkpoint; `max_length` tokens of a document are read."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    max_length: int


def open_text_encoder(name: str | Path, device: torch.device) -> TextEncoder:
    """The encoder of any text checkpoint of transformers, in eval mode.

    Raises:
        ConfigError: it cannot be loaded, or reads something else than text.
    """
    with loading(str(name)):
        tokenizer = AutoTokenizer.from_pretrained(name)
        model, info = _body_of(str(name))
    missing = untrained(info["missing_keys"])
    require(
        not missing, f"{name} lacks weights of the encoder ({', '.join(missing[:3])}): its features would be random"
    )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return TextEncoder(ready(model, device), tokenizer, longest_text(model.config, tokenizer))


def untrained_text_encoder(name: str | Path, seed: int, device: torch.device) -> TextEncoder:
    """A model of the same configuration with fresh weights from `seed`."""
    opened = open_text_encoder(name, device)
    torch.manual_seed(seed)
    model: PreTrainedModel = AutoModel.from_config(opened.model.config)
    return opened._replace(model=ready(model, device))


def _body_of(name: str) -> tuple[PreTrainedModel, Json]:
    """(encoder, loading info). An adapter names the layers of the model with its head, so that is opened for it."""
    adapter = adapter_at(name)
    if adapter is None:
        model, info = AutoModel.from_pretrained(name, output_loading_info=True)
        return model, info
    from hfssl.models.lora import open_adapted  # peft

    model, info = open_adapted(AutoModelForCausalLM if adapter.is_causal else AutoModelForMaskedLM, name)
    body = model.base_model
    assert isinstance(body, PreTrainedModel)
    return body, info


@torch.inference_mode()
def text_features(encoder: TextEncoder, texts: Sequence[str], batch_size: int = BATCH) -> Array:
    """(N, D) float32: the mean of the last hidden state over a document's tokens; long documents count by their beginning."""
    device = next(encoder.model.parameters()).device
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))  # little padding
    features: Array | None = None
    for rows, encoded in _batches(encoder, texts, order, batch_size):
        encoded = encoded.to(device)
        pooled_BD = _pooled(encoder.model(**encoded).last_hidden_state, encoded["attention_mask"]).float().cpu()
        if features is None:
            features = np.empty((len(texts), pooled_BD.shape[1]), dtype=np.float32)
        features[rows] = pooled_BD.numpy()
    assert features is not None
    return features


def _batches(
    encoder: TextEncoder, texts: Sequence[str], order: list[int], batch_size: int
) -> Iterator[tuple[list[int], BatchEncoding]]:
    """(numbers of texts, their padded tokens), halved where long texts make a batch too large."""
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        encoded = encoder.tokenizer(
            [texts[row] for row in rows],
            padding=True,
            truncation=True,
            max_length=encoder.max_length,
            return_token_type_ids=False,
            return_tensors="pt",
        )
        if len(rows) > 1 and encoded["input_ids"].numel() > len(rows) * _USUAL_LENGTH:
            yield from _batches(encoder, texts, rows, (len(rows) + 1) // 2)
        else:
            yield rows, encoded


def what_is_cut(tokenizer: PreTrainedTokenizerBase, limit: int, texts: Sequence[str]) -> Json:
    """How many of the texts, and of their tokens, are beyond the first `limit` tokens of a text."""
    found = {"limit": limit, "texts": len(texts), "texts_cut": 0, "tokens": 0, "tokens_cut": 0}
    for start in range(0, len(texts), _COUNTED_AT_ONCE):
        block = list(texts[start : start + _COUNTED_AT_ONCE])
        for ids in tokenizer(block, return_attention_mask=False, verbose=False)["input_ids"]:
            beyond = max(0, len(ids) - limit)
            found["texts_cut"] += int(beyond > 0)
            found["tokens"] += len(ids)
            found["tokens_cut"] += beyond
    return found


def sentences_of_cut(found: JsonView) -> list[str]:
    """The same for people; nothing where nothing is cut."""
    if not found["texts_cut"]:
        return []
    share = found["tokens_cut"] / found["tokens"]
    return [
        f"{found['texts_cut']:,} of {found['texts']:,} texts are longer than the {found['limit']:,} tokens that the model reads: "
        f"{share:.1%} of all tokens were cut off for the features"
    ]


def _pooled(hidden_BTD: Tensor, seen_BT: Tensor) -> Tensor:
    weights_BT1 = seen_BT[:, :, None].to(hidden_BTD.dtype)
    return (hidden_BTD * weights_BT1).sum(dim=1) / weights_BT1.sum(dim=1)
