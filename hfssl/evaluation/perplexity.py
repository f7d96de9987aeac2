"""How well a language model predicts texts: perplexity of a causal one, pseudo-perplexity of a masked one.

Pseudo-perplexity (Salazar et al. 2020, "Masked language model scoring", arXiv 1910.14659, equations 1 and 2) hides one token
at a time and predicts it from all others. It is no probability of the text and compares masked models only. Both are a
number a token: they compare models of one tokenizer; bits a byte compare across tokenizers.

T tokens of a document, B of them hidden in a batch, V vocabulary.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from hfssl.checkpoints.adapter_files import adapter_at
from hfssl.models.lora import open_adapted
from hfssl.models.stock_encoder import ready
from hfssl.nn.masked_positions import logits_at
from hfssl.objective import Array
from hfssl.run_dir import Json

RESAMPLES = 2000
_HIDDEN_AT_ONCE = 64
_LONGEST_CAUSAL_WINDOW, _LONGEST_MASKED_WINDOW = 4096, 512
_MASKED, _CAUSAL = ("ForMaskedLM", "ForPreTraining"), ("ForCausalLM", "LMHeadModel")


class LanguageModel(NamedTuple):
    """A checkpoint with a trained head, in eval mode; `max_length` tokens of a document are read at once."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    is_causal: bool
    max_length: int


class Scored(NamedTuple):
    """One document: ids (n,) of its scored tokens, their negative log-likelihoods (n,) in nats, their UTF-8 bytes, and the
    windows that it was read in."""

    ids: Array
    losses: Array
    num_bytes: int
    num_windows: int


def open_language_model(location: str, max_length: int, device: torch.device) -> LanguageModel | None:
    """None where the checkpoint holds no language-model head. Windows have at most `max_length` tokens, and no more than
    4,096 of a causal and 512 of a masked model, since a masked one reads a window once for each of its tokens."""
    adapter = adapter_at(location)
    name = _architecture(location) if adapter is None else str(adapter.architecture)
    is_causal = name.endswith(_CAUSAL)
    if not is_causal and not name.endswith(_MASKED):
        return None
    model, info = open_adapted(AutoModelForCausalLM if is_causal else AutoModelForMaskedLM, location)
    tokenizer = AutoTokenizer.from_pretrained(location)
    if info["missing_keys"] or (not is_causal and tokenizer.mask_token_id is None):
        return None
    longest = _LONGEST_CAUSAL_WINDOW if is_causal else _LONGEST_MASKED_WINDOW
    return LanguageModel(ready(model, device), tokenizer, is_causal, min(max_length, longest))


def _architecture(location: str) -> str:
    """The class that the config names, or an empty text."""
    names: list[str] = AutoConfig.from_pretrained(location).architectures or [""]
    return names[0]


@torch.inference_mode()
def scored(language_model: LanguageModel, text: str) -> Scored:
    """The tokens of one document that the model predicts: all ordinary ones, but a causal model's first without a BOS.

    A document longer than a window is read in several, and each token is predicted once. The second half of a window is
    scored, after a first half that the window before it has scored; of the first window all is.
    """
    model, tokenizer, is_causal, max_length = language_model
    device = next(model.parameters()).device
    encoded = tokenizer(
        text,
        truncation=True,
        max_length=max_length,
        stride=overlap(language_model),
        return_overflowing_tokens=True,
        return_special_tokens_mask=True,
        return_offsets_mapping=True,
        return_token_type_ids=False,
    )
    ids, losses, offsets = [np.zeros(0, dtype=np.int64)], [np.zeros(0)], []
    for window in range(len(encoded["input_ids"])):
        ordinary = np.flatnonzero(np.array(encoded["special_tokens_mask"][window]) == 0)
        ordinary = ordinary[overlap(language_model) :] if window else ordinary
        positions = torch.from_numpy(ordinary[ordinary > 0] if is_causal else ordinary).to(device)
        if not len(positions):
            continue
        ids_1T = torch.tensor(encoded["input_ids"][window], device=device)[None]
        of_window = _next_token(model, ids_1T, positions) if is_causal else _hidden(model, tokenizer, ids_1T, positions)
        ids.append(ids_1T[0, positions].cpu().numpy())
        losses.append(of_window.double().cpu().numpy())
        offsets += [encoded["offset_mapping"][window][position] for position in positions.tolist()]
    num_bytes = len(text[offsets[0][0] : max(end for _, end in offsets)].encode()) if offsets else 0
    return Scored(np.concatenate(ids), np.concatenate(losses), num_bytes, len(encoded["input_ids"]))


def overlap(language_model: LanguageModel) -> int:
    """Ordinary tokens that a window shares with the one before it: half of them."""
    return max(0, _room(language_model)) // 2


def _room(language_model: LanguageModel) -> int:
    """Ordinary tokens of a full window."""
    return language_model.max_length - language_model.tokenizer.num_special_tokens_to_add()


def _next_token(model: PreTrainedModel, ids_1T: Tensor, positions: Tensor) -> Tensor:
    logits_TV = model(input_ids=ids_1T).logits[0]
    log_probabilities = logits_TV[positions - 1].float().log_softmax(dim=-1)
    return -log_probabilities.gather(1, ids_1T[0, positions, None])[:, 0]


def _hidden(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ids_1T: Tensor, positions: Tensor) -> Tensor:
    losses = []
    for slots_B in positions.split(_HIDDEN_AT_ONCE):
        hidden_BT = ids_1T.repeat(len(slots_B), 1)
        hidden_BT[torch.arange(len(slots_B)), slots_B] = tokenizer.mask_token_id
        logits_BV = logits_at(model, slots_B[:, None], {"input_ids": hidden_BT})[:, 0]
        log_probabilities = logits_BV.float().log_softmax(dim=-1)
        losses.append(-log_probabilities.gather(1, ids_1T[0, slots_B, None])[:, 0])
    return torch.cat(losses)


def perplexity_of(language_model: LanguageModel, texts: Sequence[str], training_texts: Sequence[str]) -> Json | None:
    """Figures of `texts` as eval/*.json holds them, with what the token frequencies of `training_texts` give.

    The 95 % interval is a bootstrap over documents. None where no document has a token to predict.
    """
    documents = [document for document in (scored(language_model, text) for text in texts) if len(document.ids)]
    if not documents:
        return None
    sums = np.array([document.losses.sum() for document in documents])
    counts = np.array([len(document.ids) for document in documents])
    weights = np.random.default_rng(0).multinomial(len(counts), np.full(len(counts), 1 / len(counts)), RESAMPLES)
    low, high = np.quantile((weights @ sums) / (weights @ counts), [0.025, 0.975])
    loss = sums.sum() / counts.sum()
    alone = _loss_of_frequencies(language_model, documents, training_texts)
    return {
        "kind": "perplexity" if language_model.is_causal else "pseudo-perplexity",
        "value": _exp(loss),
        "low": _exp(low),
        "high": _exp(high),
        "nats_a_token": float(loss),
        "bits_a_byte": float(sums.sum() / math.log(2) / sum(document.num_bytes for document in documents)),
        "of_token_frequencies": _exp(alone),
        "documents": len(documents),
        "tokens": int(counts.sum()),
        "window": language_model.max_length,
        "stride": _room(language_model) - overlap(language_model),
        "documents_in_windows": sum(document.num_windows > 1 for document in documents),
    }


def _exp(loss: float) -> float:
    return math.exp(min(float(loss), 50.0))


def _loss_of_frequencies(
    language_model: LanguageModel, documents: Sequence[Scored], training_texts: Sequence[str]
) -> float:
    """Nats a token by the training texts' token frequencies, each raised by one."""
    counts = np.ones(len(language_model.tokenizer))
    encoded = language_model.tokenizer(list(training_texts), add_special_tokens=False, verbose=False)
    for ids in encoded["input_ids"]:
        np.add.at(counts, ids, 1)
    log_shares = np.log(counts / counts.sum())
    return -float(np.concatenate([log_shares[document.ids] for document in documents]).mean())


def sentence(figures: Json) -> str:
    """The figures for people."""
    return (
        f"{figures['kind']} of {figures['documents']} test texts {figures['value']:.1f} (95 % interval {figures['low']:.1f} to "
        f"{figures['high']:.1f}; {figures['tokens']:,} tokens, {figures['bits_a_byte']:.2f} bits a byte); token frequencies "
        f"of the training texts only: {figures['of_token_frequencies']:.1f}; {figures['documents_in_windows']} texts of more "
        f"than {figures['window']:,} tokens were read in windows, each {figures['stride']:,} tokens after the one before it"
    )
