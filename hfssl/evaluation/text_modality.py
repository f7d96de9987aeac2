"""Evaluating text models: their features compared with TF-IDF, and their perplexity where they have a trained head."""

from pathlib import Path
from typing import ClassVar

import torch

from hfssl.data.source import Source
from hfssl.data.texts.config import TextDataConfig
from hfssl.data.texts.source import open_texts
from hfssl.evaluation.evaluate_config import EvaluateConfig
from hfssl.evaluation.feature_scores import PROTOCOL
from hfssl.evaluation.linear_probe import SPARSE
from hfssl.evaluation.modality import Features, Further, Modality
from hfssl.evaluation.perplexity import open_language_model, perplexity_of, sentence
from hfssl.evaluation.text_features import (
    BATCH,
    TextEncoder,
    open_text_encoder,
    sentences_of_cut,
    text_features,
    untrained_text_encoder,
    what_is_cut,
)
from hfssl.evaluation.texts import FLOOR, MOST_WORDS, Texts, tfidf
from hfssl.objective import Array
from hfssl.run_dir import Json

PERPLEXITY_DOCUMENTS = 256
_FREQUENCY_DOCUMENTS = 20_000


class TextModality(Modality[TextEncoder, Texts]):
    reads: ClassVar[str] = "input_ids"
    samples: ClassVar[str] = TextDataConfig.samples
    own_flags: ClassVar[tuple[str, ...]] = ("text_column", "perplexity_documents")
    hashed_by: ClassVar[str] = "words"
    protocol: ClassVar[Json] = PROTOCOL | {
        "features": "mean of the last hidden state over a document's tokens, as many as tokenizer and model allow",
        FLOOR: f"sublinear, the {MOST_WORDS} most frequent words; its linear probe is not standardised, C of {SPARSE.strengths}",
    }
    checkpoint_protocol: ClassVar[Json] = {
        "perplexity": f"of the first {PERPLEXITY_DOCUMENTS} test documents of a fixed permutation, interval by bootstrap over "
        "them; of a masked model pseudo-perplexity, one token hidden at a time (Salazar et al. 2020); "
        "longer documents are read in overlapping windows",
    }
    batch_size: ClassVar[int] = BATCH

    def open_encoder(self, location: str | Path, device: torch.device) -> TextEncoder:
        return open_text_encoder(location, device)

    def untrained_encoder(self, location: str | Path, seed: int, device: torch.device) -> TextEncoder:
        return untrained_text_encoder(location, seed, device)

    def open_data(self, config: EvaluateConfig, encoder: TextEncoder) -> Source:
        return open_texts(config.text_data())

    def samples_of(self, source: Source, encoder: TextEncoder, most: int | None = None) -> Texts:
        return Texts(source, most)

    def encode(self, encoder: TextEncoder, samples: Texts, batch_size: int) -> Array:
        return text_features(encoder, samples.texts, batch_size)

    def baselines(self, train: Texts, test: Texts | None) -> dict[str, Features]:
        train_NW, test_MW = tfidf(train.texts, [] if test is None else test.texts)
        return {FLOOR: Features(train_NW, test_MW, SPARSE)}

    def checkpoint_figures(
        self, location: str, encoder: TextEncoder, sides: tuple[Texts, Texts], config: EvaluateConfig
    ) -> Further:
        train, test = sides
        cut = what_is_cut(encoder.tokenizer, encoder.max_length, [*train.texts, *test.texts])
        figures, notes = {"cut_texts": cut}, sentences_of_cut(cut)
        num = PERPLEXITY_DOCUMENTS if config.perplexity_documents is None else config.perplexity_documents
        if num == 0:
            return Further(figures, notes)
        opened = open_language_model(location, encoder.max_length, next(encoder.model.parameters()).device)
        found = opened and perplexity_of(opened, test.texts[:num], train.texts[:_FREQUENCY_DOCUMENTS])
        if not found:
            return Further(
                figures, [*notes, "perplexity: not measured, the checkpoint has no trained language-model head"]
            )
        return Further(figures | {"perplexity": found}, [*notes, sentence(found)])
