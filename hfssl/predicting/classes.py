"""Answers that are classes of a row, or numbers. L labels."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from transformers import PretrainedConfig

from hfssl.errors import require
from hfssl.predicting.answers import Answers, Arrays, Opening, label_names, rounded
from hfssl.predicting.preprocessors import ImagePreprocessor, Preprocessor, RecordingPreprocessor, TextPreprocessor
from hfssl.run_dir import Json

Problem = Literal["one label", "several labels", "numbers"]
LEAST_PROBABILITY = 0.5


class Classes(Answers):
    """Labels with their probabilities.

    Raises:
        ConfigError: `top_k` does not fit this head.
    """

    FLAGS: ClassVar[frozenset[str]] = frozenset({"top_k"})

    def __init__(self, config: PretrainedConfig, top_k: int | None) -> None:
        names = label_names(config)
        self._labels = [names[index] for index in range(len(names))]
        self._problem = _problem_of(config)
        self._top_k = top_k or 1
        most = len(self._labels)
        require(self._top_k <= most, f"--top_k {top_k} is more than the {most} labels of the model")
        has_effect = top_k is None or self._problem == "one label"
        require(has_effect, f"--top_k has no effect: the head gives {self._problem} a row; leave it out")

    @property
    def columns(self) -> list[str]:
        if self._problem == "numbers":
            return ["value"] if len(self._labels) == 1 else [f"value_{label}" for label in self._labels]
        if self._problem == "several labels":
            return ["labels", "probabilities"]
        further = [f"{name}_{place}" for place in range(2, self._top_k + 1) for name in ("label", "probability")]
        return ["label", "probability", *further]

    def outputs(self, output: Any, batch: Mapping[str, Tensor], pieces: list[Arrays]) -> list[Tensor]:
        """(L,) each."""
        return list(output.logits.float().cpu())

    def of(self, outputs: list[Tensor], extra: Any) -> Json:
        """Probabilities by softmax, or each by itself where several labels may hold, likeliest first."""
        (logits_L,) = outputs
        if self._problem == "numbers":
            return dict(zip(self.columns, map(rounded, logits_L.tolist()), strict=True))
        several = self._problem == "several labels"
        probabilities_L = logits_L.sigmoid() if several else logits_L.softmax(dim=-1)
        ordered = torch.sort(probabilities_L, descending=True, stable=True)
        ranked = [(self._labels[i], rounded(p)) for p, i in zip(*(part.tolist() for part in ordered), strict=True)]
        if several:
            held = [(label, probability) for label, probability in ranked if probability >= LEAST_PROBABILITY]
            return {"labels": [label for label, _ in held], "probabilities": [probability for _, probability in held]}
        return dict(zip(self.columns, [value for pair in ranked[: self._top_k] for value in pair], strict=True))


def of_images(opening: Opening) -> tuple[Preprocessor, Answers]:
    channels = int(opening.model.config.to_dict().get("num_channels", 3))
    return ImagePreprocessor(opening.processors[0], channels), _answers(opening)


def of_texts(opening: Opening) -> tuple[Preprocessor, Answers]:
    return TextPreprocessor(opening.processors[0], opening.model.config), _answers(opening)


def of_recordings(opening: Opening) -> tuple[Preprocessor, Answers]:
    return RecordingPreprocessor(opening.processors[0]), _answers(opening)


def _answers(opening: Opening) -> Classes:
    return Classes(opening.model.config, opening.config.top_k)


def _problem_of(config: PretrainedConfig) -> Problem:
    if config.problem_type == "multi_label_classification":
        return "several labels"
    return "numbers" if config.problem_type == "regression" or config.num_labels == 1 else "one label"
