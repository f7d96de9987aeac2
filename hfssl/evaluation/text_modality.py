"""Evaluating a text checkpoint."""

from typing import Any, ClassVar

import numpy as np
import torch

from hfssl.checkpoints.locate import Checkpoint
from hfssl.data.source import Source
from hfssl.data.texts.source import open_texts
from hfssl.evaluation.evaluate_config import EvaluateConfig
from hfssl.evaluation.linear_probe import SPARSE
from hfssl.evaluation.modality import Features, Modality
from hfssl.evaluation.perplexity import open_language_model, perplexity_of, sentence
from hfssl.evaluation.text_features import open_text_encoder, text_features, untrained_text_encoder
from hfssl.evaluation.text_table import PROTOCOL
from hfssl.evaluation.texts import FLOOR, Texts, tfidf

Array = np.ndarray[Any, Any]
PERPLEXITY_DOCUMENTS = 256
_FREQUENCY_DOCUMENTS = 20_000


class TextModality(Modality):
    samples: ClassVar[str] = "texts"
    hashed_by: ClassVar[str] = "words"
    protocol: ClassVar[dict[str, Any]] = PROTOCOL | {
        "perplexity": f"of the first {PERPLEXITY_DOCUMENTS} test documents of a fixed permutation, interval by bootstrap over "
        "them; of a masked model pseudo-perplexity, one token hidden at a time (Salazar et al. 2020)",
    }
    pooling = "mean"

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        self._location = checkpoint.location
        self._encoder = open_text_encoder(checkpoint.location, device)

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self._encoder.model.parameters()).device
        return device

    def open_data(self, config: EvaluateConfig) -> Source:
        return open_texts(config.text_data())

    def samples_of(self, source: Source) -> Texts:
        return Texts(source)

    def features(self, samples: Texts, batch_size: int) -> Array:
        return text_features(self._encoder, samples.texts, batch_size)

    def untrained_features(self, sides: tuple[Texts, Texts], seed: int, batch_size: int) -> Features:
        encoder = untrained_text_encoder(self._location, seed, self.device)
        train_ND, test_MD = (text_features(encoder, side.texts, batch_size) for side in sides)
        return Features(train_ND, test_MD)

    def baselines(self, train: Texts, test: Texts) -> dict[str, Features]:
        train_NW, test_MW = tfidf(train.texts, test.texts)
        return {FLOOR: Features(train_NW, test_MW, SPARSE)}

    def beyond_table(self, train: Texts, test: Texts, config: EvaluateConfig) -> tuple[dict[str, Any], list[str]]:
        num = PERPLEXITY_DOCUMENTS if config.perplexity_documents is None else config.perplexity_documents
        if num == 0:
            return {}, []
        opened = open_language_model(self._location, self._encoder.max_length, self.device)
        figures = opened and perplexity_of(opened, test.texts[:num], train.texts[:_FREQUENCY_DOCUMENTS])
        if not figures:
            return {}, ["perplexity: not measured, the checkpoint has no trained language-model head"]
        return {"perplexity": figures}, [sentence(figures)]
