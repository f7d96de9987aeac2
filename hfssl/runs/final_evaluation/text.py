"""The end of a text run: what the model learnt, in numbers beside guesses that need no model, and in words."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast, pipeline

from hfssl.data.loader import KeyedDataset
from hfssl.data.source import Source
from hfssl.data.texts.pipeline import PackedRows, TextPipeline
from hfssl.evaluation.results_table import encoded_rows, results_table
from hfssl.evaluation.text_modality import TextModality
from hfssl.methods.mlm.objective import MLM
from hfssl.objective import Array
from hfssl.training.loop import Session

_BLANKED, _WORDS_SHOWN, _LONGEST_SENTENCE = 3, 3, 160
_WORDS_BEFORE, _NEW_TOKENS = 6, 40


def final_table(session: Session, source: Source, encoders: Mapping[str, Path]) -> dict[str, Any]:
    """The closing table of the exported `encoders`, and what the language model itself can do, under `language`."""
    print("evaluating the export ...", flush=True)
    table = results_table(encoded_rows(TextModality(), encoders, source, session.accelerator.device))
    figures = language_figures(session)
    texts = source.test or source
    examples = filled_blanks(session, texts) if isinstance(session.objective, MLM) else continued(session, texts)
    return table | {"language": figures, "notes": _sentences(figures), "examples": examples}


def language_figures(session: Session) -> dict[str, float]:
    """Held-out loss at the start and the end beside the entropy of single tokens, all in nats a token."""
    if session.monitor is None:
        return {}
    rows = session.run_dir.validation_rows()
    figures = {"loss_at_start": rows[0]["validation/loss"], "loss": rows[-1]["validation/loss"]}
    vocabulary = len(_tokenizer(session))
    counts, held_out = (_token_counts(rows, vocabulary) for rows in (session.rows, session.monitor.rows))
    log_shares = np.log((counts + 1) / (counts.sum() + vocabulary))
    figures["unigram_cross_entropy"] = float(-(held_out * log_shares).sum() / held_out.sum())
    figures["most_frequent_token"] = float(held_out[counts.argmax()] / held_out.sum())
    if isinstance(session.objective, MLM):
        figures |= _accuracy_on_masked(session, session.objective)
    return figures


def _tokenizer(session: Session) -> PreTrainedTokenizerFast:
    assert isinstance(session.rows.pipeline, TextPipeline)
    return session.rows.pipeline.processor


def _token_counts(rows: KeyedDataset, vocabulary: int) -> Array:
    assert isinstance(rows.examples, PackedRows)
    tokens = rows.examples.tokens
    return np.bincount(tokens.ids[: tokens.offsets[-1]], minlength=vocabulary)


def _accuracy_on_masked(session: Session, objective: MLM) -> dict[str, float]:
    """Share of the masked held-out tokens that are the first, or among the first five guesses."""
    assert session.monitor is not None
    rows, hits = session.monitor.rows, torch.zeros(2)
    targets = 0
    for ids_B in session.monitor.good.split(session.layout.per_device_batch_size):
        batch = rows.__getitems__((torch.full_like(ids_B, -1), ids_B))
        on_device = {name: tensor.to(session.accelerator.device) for name, tensor in batch.items() if name != "bad_ids"}
        right_BSK = (objective.guesses(on_device, 5) == on_device["labels"][:, :, None]).cpu()
        hits += torch.stack([right_BSK[:, :, 0].sum(), right_BSK.any(dim=2).sum()])
        targets += int((batch["labels"] != -100).sum())
    return {"top_1": float(hits[0]) / max(1, targets), "top_5": float(hits[1]) / max(1, targets)}


def _sentences(figures: Mapping[str, float]) -> list[str]:
    if not figures:
        return ["held-out loss: not measured, nothing is held out"]
    start, end, alone = (figures[name] for name in ("loss_at_start", "loss", "unigram_cross_entropy"))
    lines = [
        f"held-out loss {start:.3f} at the start, {end:.3f} at the end; perplexity {math.exp(min(start, 50)):.1f} and "
        f"{math.exp(end):.1f}; token frequencies alone: {alone:.3f}, perplexity {math.exp(alone):.1f}"
    ]
    if "top_1" in figures:
        lines.append(
            f"masked held-out tokens: first guess right {figures['top_1']:.1%}, among five {figures['top_5']:.1%}; always "
            f"guessing the most frequent token: {figures['most_frequent_token']:.1%}"
        )
    return lines


def _beginnings(source: Source, num: int) -> list[str]:
    """First sentences of a few documents, long enough to have something to blank."""
    found = []
    for row in range(len(source)):
        words = source.sample(row).split()[:24]
        if len(words) >= 12:
            found.append(" ".join(words)[:_LONGEST_SENTENCE])
        if len(found) == num:
            break
    return found


def filled_blanks(session: Session, source: Source) -> list[dict[str, Any]]:
    """Three test sentences, one word of each hidden, with the export's likeliest words for it."""
    tokenizer = _tokenizer(session)
    fill = pipeline("fill-mask", model=str(session.run_dir.export), top_k=_WORDS_SHOWN, device="cpu")
    examples = []
    for sentence in _beginnings(source, _BLANKED):
        words = sentence.split()
        hidden = max(
            range(2, len(words) - 1), key=lambda index: (words[index].isalpha(), -abs(index - len(words) // 2))
        )
        before, after = " ".join(words[:hidden]), " ".join(words[hidden + 1 :])
        guesses = [
            [guess["token_str"].strip(), guess["score"]] for guess in fill(f"{before} {tokenizer.mask_token} {after}")
        ]
        examples.append({"before": before, "hidden": words[hidden], "after": after, "guesses": guesses})
    return examples


def continued(session: Session, source: Source) -> list[dict[str, Any]]:
    """A sampled continuation, by the export, of the first words of a test document."""
    generate = pipeline("text-generation", model=str(session.run_dir.export), device="cpu")
    words = " ".join(_beginnings(source, 1)).split()[:_WORDS_BEFORE]
    tokenizer, longest = _tokenizer(session), session.run.data.max_length
    while len(words) > 1 and 2 * len(tokenizer(" ".join(words))["input_ids"]) > longest:
        words.pop()
    prompt = " ".join(words)
    room = longest - len(tokenizer(prompt)["input_ids"])
    torch.manual_seed(0)
    (answer,) = generate(
        prompt, max_new_tokens=min(_NEW_TOKENS, room), do_sample=True, top_k=50, return_full_text=False
    )
    return [{"prompt": prompt, "continued": " ".join(answer["generated_text"].split())}]
