"""Answers that are a span of a text: what an extractive head says to a question about it.

T tokens of a window.

Texts are cut into windows, and their spans compared, as in training (tasks/question_answering/objective.py).
"""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from hfssl.data.texts.question_windows import windows_of
from hfssl.errors import require
from hfssl.nn.answer_spans import FoundSpan, WindowLogits, best_answer
from hfssl.predicting.answers import Answers, Arrays, Opening, own_tokens, rounded
from hfssl.predicting.preprocessors import Prepared, Preprocessor, TextPreprocessor, placing, readable
from hfssl.run_dir import Json

_MOST_TOKENS, _SHARED = 30, 64  # of an answer, and of two windows, where neither user nor run say it


class _Asked(NamedTuple):
    """A text, and for each of its windows the characters where each token begins and ends, (T,) int64."""

    context: str
    windows: list[tuple[Tensor, Tensor]]


class Questions(TextPreprocessor):
    """Contents are (question, text).

    Raises:
        ConfigError: windows would share more than a quarter of their tokens.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig, shared: int | None) -> None:
        super().__init__(tokenizer, config)
        most = self.max_length // 4
        require(
            shared is None or shared <= most,
            f"--doc_stride {shared} is more than a quarter of the {self.max_length} tokens of a window: set {most} or less",
        )
        self._shared = min(_SHARED, most) if shared is None else shared

    def prepare(self, content: Any) -> Prepared:
        question, context = readable(content[0], "question"), readable(content[1])
        windows = windows_of(
            self._processor, [question], [context], [None], max_length=self.max_length, shared=self._shared
        )
        pieces, places = [], []
        for index in range(len(windows.tokens)):
            window = windows.tokens[index]
            places.append((window.pop("char_starts"), window.pop("char_ends")))
            mask = {"attention_mask": np.ones(len(window["input_ids"]), dtype=np.int64)}
            pieces.append({name: values.numpy() for name, values in window.items()} | mask)
        return Prepared(pieces, _Asked(context, places))

    def trial_content(self, text: str) -> tuple[str, str]:
        return "one?", text


class Spans(Answers):
    """The best span of a row, and where it stands in the text; an empty one where there may be no answer and none is likelier.

    probability: of both ends among the tokens of their window.
    """

    FLAGS: ClassVar[frozenset[str]] = frozenset(
        {"question", "question_column", "doc_stride", "max_answer_length", "unanswerable"}
    )

    def __init__(self, most_tokens: int, unanswerable: bool) -> None:
        self._most_tokens = most_tokens
        self._unanswerable = unanswerable

    @property
    def columns(self) -> list[str]:
        return ["answer", "start", "end", "probability"]

    def outputs(self, output: Any, batch: Mapping[str, Tensor], pieces: list[Arrays]) -> list[Tensor]:
        """(T, 2) each, of the first and of the last token."""
        return own_tokens(torch.stack([output.start_logits, output.end_logits], dim=2), batch)

    def of(self, outputs: list[Tensor], extra: _Asked) -> Json:
        windows = [WindowLogits(logits_T2, *places) for logits_T2, places in zip(outputs, extra.windows, strict=True)]
        best, nothing = best_answer(windows, self._most_tokens)
        if self._unanswerable and nothing.score > best.score:
            return {"answer": "", "start": None, "end": None, "probability": rounded(nothing.probability)}
        return self._span(best, extra.context)

    def _span(self, best: FoundSpan, context: str) -> Json:
        said = {"answer": context[best.begin : best.end], "start": best.begin, "end": best.end}
        return said | {"probability": rounded(best.probability)}


def opened(opening: Opening) -> tuple[Preprocessor, Answers]:
    """As the user says, else as the run was trained and scored, else with the defaults of the task.

    Raises:
        ConfigError: the tokenizer cannot tell where its tokens stand in a text, or a setting does not fit the model.
    """

    def setting(name: str, otherwise: Any) -> Any:
        asked = getattr(opening.config, name)
        return opening.of_run.get(name, otherwise) if asked is None else asked

    samples = Questions(placing(opening.processors[0]), opening.model.config, setting("doc_stride", None))
    return samples, Spans(setting("max_answer_length", _MOST_TOKENS), bool(setting("unanswerable", False)))
