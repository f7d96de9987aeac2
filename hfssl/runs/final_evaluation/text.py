"""The end of a text run: what the model learnt, in numbers with baselines that need no model, and in words."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from hfssl.data.loader import KeyedDataset
from hfssl.data.source import Source
from hfssl.data.texts.config import TextDataConfig
from hfssl.data.texts.pipeline import PackedRows, TextPipeline
from hfssl.evaluation.results_table import encoded_rows, results_table
from hfssl.evaluation.table import unscored
from hfssl.evaluation.text_features import sentences_of_cut, what_is_cut
from hfssl.evaluation.text_modality import TextModality
from hfssl.models.text_length import longest_text
from hfssl.objective import Array, Batch, Example
from hfssl.run_dir import Json
from hfssl.runs.closing import Closing
from hfssl.training.loop import Session
from hfssl.training.monitor import Monitor


def final_table(session: Session, source: Source, encoders: Mapping[str, Path], closing: Closing) -> Json:
    """The results table of the exported `encoders`, and what the language model itself can do, under `language`."""
    print("evaluating the export ...", flush=True)
    device = session.accelerator.device
    rows = closing.attempt("features of the encoders", lambda: encoded_rows(TextModality(), encoders, source, device))
    table, cut = unscored(source.name, len(source)), None
    if rows is not None:
        read = [*rows.train.texts, *(rows.test.texts if rows.test is not None else [])]
        table = closing.attempt("results table", lambda: results_table(rows)) or table
        cut = closing.attempt("count of texts that are cut", lambda: _what_is_cut(session, read))
    figures = closing.attempt("figures of the language model", lambda: language_figures(session))
    examples = closing.attempt("examples of the language model", lambda: _examples(session, source)) or []
    notes = ["validation loss: not measured"] if figures is None else _sentences(figures)
    if cut is not None:
        table, notes = table | {"cut_texts": cut}, [*notes, *sentences_of_cut(cut)]
    return table | {"language": figures or {}, "notes": notes, "examples": examples}


def _what_is_cut(session: Session, texts: Sequence[str]) -> Json:
    model, tokenizer = session.objective.get_submodule("model"), _tokenizer(session)
    assert isinstance(model, PreTrainedModel)
    return what_is_cut(tokenizer, longest_text(model.config, tokenizer), texts)


def _examples(session: Session, source: Source) -> list[Example]:
    """What the export writes on test texts where there are some, on training texts else."""
    texts = source.test or source
    assert isinstance(session.run.data, TextDataConfig)
    samples = (texts.sample(row) for row in range(len(texts)))
    return session.objective.demonstrate(session.run_dir.export, samples, session.run.data.max_length)


def language_figures(session: Session) -> dict[str, float]:
    """Validation loss at the start and the end, and the entropy of single tokens, all in nats per token."""
    if session.monitor is None:
        return {}
    rows = session.run_dir.validation_rows()
    figures = {"loss_at_start": rows[0]["validation/loss"], "loss": rows[-1]["validation/loss"]}
    vocabulary = len(_tokenizer(session))
    counts, held_out = (_token_counts(rows, vocabulary) for rows in (session.rows, session.monitor.rows))
    log_shares = np.log((counts + 1) / (counts.sum() + vocabulary))
    figures["unigram_cross_entropy"] = float(-(held_out * log_shares).sum() / held_out.sum())
    figures["most_frequent_token"] = float(held_out[counts.argmax()] / held_out.sum())
    return figures | session.objective.validation_figures(_validation_batches(session, session.monitor))


def _tokenizer(session: Session) -> PreTrainedTokenizerFast:
    assert isinstance(session.rows.pipeline, TextPipeline)
    return session.rows.pipeline.processor


def _token_counts(rows: KeyedDataset, vocabulary: int) -> Array:
    assert isinstance(rows.examples, PackedRows)
    tokens = rows.examples.tokens
    return np.bincount(tokens.ids[: tokens.offsets[-1]], minlength=vocabulary)


def _validation_batches(session: Session, monitor: Monitor) -> Iterator[Batch]:
    """Every usable validation row, with the draws of each validation."""
    for ids_B in monitor.good.split(session.layout.per_device_batch_size):
        batch = monitor.rows.__getitems__((torch.full_like(ids_B, -1), ids_B))
        yield {name: tensor.to(session.accelerator.device) for name, tensor in batch.items() if name != "bad_ids"}


def _sentences(figures: Mapping[str, float]) -> list[str]:
    if not figures:
        return ["validation loss: not measured, there are no validation rows"]
    start, end, alone = (figures[name] for name in ("loss_at_start", "loss", "unigram_cross_entropy"))
    lines = [
        f"validation loss {start:.3f} at the start, {end:.3f} at the end; perplexity {math.exp(min(start, 50)):.1f} and "
        f"{math.exp(end):.1f}; token frequencies only: {alone:.3f}, perplexity {math.exp(alone):.1f}"
    ]
    if "top_1" in figures:
        lines.append(
            f"masked validation tokens: first guess right {figures['top_1']:.1%}, among five {figures['top_5']:.1%}; always "
            f"guessing the most frequent token: {figures['most_frequent_token']:.1%}"
        )
    return lines
