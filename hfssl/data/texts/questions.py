"""Questions about texts, in SQuAD's columns: where they are, and how they become batches.

N questions, M windows, B samples, T tokens, L characters, G gold answers.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypedDict

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from hfssl.data.columns import FindColumn, is_text
from hfssl.data.labels import refuse_missing
from hfssl.data.open_source import Labelling
from hfssl.data.source import Source
from hfssl.data.texts.answer_places import Gold, Places, answer_places, refuse_lost
from hfssl.data.texts.config import TextDataConfig
from hfssl.data.texts.encodings import encoded_batch
from hfssl.data.texts.question_windows import NOT_TEXT, Windows, windows_of
from hfssl.data.texts.source import open_text_rows
from hfssl.distributed import is_main_process
from hfssl.errors import require
from hfssl.objective import Batch, DataPipeline
from hfssl.randomness import sample_keys

_CONTEXT, _ANSWERS = "context", "answers"
_PARTS = ("text", "answer_start")
_CHARS = ("char_starts", "char_ends")


class QuestionSettings(Protocol):
    """What a task on questions says of its columns."""

    @property
    def question_column(self) -> str: ...


class Asked(TypedDict):
    """A question with all of its windows, for scores; golds: its right answers."""

    windows: list[dict[str, Tensor]]
    question: str
    context: str
    golds: list[str]


def open_questions(data: TextDataConfig, method: QuestionSettings) -> Source:
    """The rows that the config names: a text (`context`), a question, and `answers` with the lists text and answer_start.

    Raises:
        ConfigError: no such data or columns.
    """
    source = open_text_rows(data, _only(_CONTEXT), Labelling(_only(_ANSWERS), num_without))
    for part in (source, source.validation, source.test):
        if part is None:
            continue
        features = part.all_rows.features
        for flag, name in (("text_column", part.column), ("question_column", method.question_column)):
            require(
                name in features and is_text(features[name]),
                f"--{flag} {name} is no column of texts; there are: {', '.join(features)}",
            )
        if part.label_column is not None:
            answers = features[part.label_column]
            holds_both = isinstance(answers, dict) and all(name in answers for name in _PARTS)
            require(holds_both, f"the column {part.label_column} must hold the lists text and answer_start, as SQuAD's")
    refuse_missing(source, 0 if source.label_column is None else num_without(source), "lists of answers")
    return source


def _only(column: str) -> FindColumn:
    """Finds the column of that name, of whatever type."""
    return lambda features: [column] if column in features else []


def num_without(source: Source) -> int:
    """Rows that hold nothing in the place of answers, not even empty lists."""
    return sum(value is None for value in source.rows[source.label_column][:])


def gold_answers(source: Source) -> list[Gold]:
    """The answers of each row, as lists `text` and `answer_start`; both empty where there is none.

    Raises:
        ConfigError: a row holds nothing, not even empty lists.
    """
    refuse_missing(source, num_without(source), "lists of answers")
    values = source.rows[source.label_column][:]
    return [Gold(text=list(value["text"] or []), answer_start=list(value["answer_start"] or [])) for value in values]


class Questions:
    """Questions with all of their windows, texts and gold answers, for scores."""

    def __init__(self, windows: Windows, questions: list[str], contexts: list[str], golds: list[list[str]]) -> None:
        self.windows = windows
        self.questions = questions
        self._contexts, self._golds = contexts, golds
        self._of_question: list[list[int]] = [[] for _ in questions]
        for window, question in enumerate(windows.questions_M.tolist()):
            self._of_question[question].append(window)

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, index: int) -> Asked:
        windows = [one_window(self.windows, window) for window in self._of_question[index]]
        return {
            "windows": windows,
            "question": self.questions[index],
            "context": self._contexts[index],
            "golds": self._golds[index],
        }


class _Opened(NamedTuple):
    """Questions, and which of them have an answer that does not stand where it should."""

    questions: Questions
    is_lost: list[bool]


class TrainingWindows:
    """The `kept` windows, one by one."""

    def __init__(self, windows: Windows, kept: Sequence[int]) -> None:
        self._windows = windows
        self._kept = kept

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return one_window(self._windows, self._kept[index])


def one_window(windows: Windows, index: int) -> dict[str, Tensor]:
    """Tokens and their characters (T,), and `targets` (2,)."""
    return windows.tokens[index] | {"targets": torch.from_numpy(windows.targets_M2[index])}


class QuestionPipeline(DataPipeline):
    """`input_ids`, `attention_mask`, perhaps `token_type_ids` (B, T), and `targets` (B, 2), windows padded to the longest of
    the batch.

    For scores also `char_starts` and `char_ends` (B, T), `questions` (B,), the place of a window's question among those of
    the batch, and as code points padded with NOT_TEXT their `contexts` (N, L) and `golds` (N, G, L).
    """

    def __init__(
        self, data: TextDataConfig, tokenizer: PreTrainedTokenizerFast, question_column: str, shared: int
    ) -> None:
        self.data = data
        self.processor: PreTrainedTokenizerFast = tokenizer
        self._question_column = question_column
        self._shared = shared

    @property
    def data_path(self) -> str:
        return f"windows of {self.data.max_length} tokens"

    @property
    def wants_workers(self) -> bool:
        return False

    def prepare(self, source: Source) -> TrainingWindows:
        """Windows of the questions whose answer stands where the data says, and of those without an answer."""
        opened = self._opened(source, is_trained_on=True)
        kept = ~np.array(opened.is_lost, dtype=bool)[opened.questions.windows.questions_M]
        return TrainingWindows(opened.questions.windows, np.flatnonzero(kept).tolist())

    def whole_examples(self, source: Source) -> Questions:
        return self._opened(source, is_trained_on=False).questions

    def _opened(self, source: Source, *, is_trained_on: bool) -> _Opened:
        contexts = [text or "" for text in source.rows[source.column][:]]
        questions = [text or "" for text in source.all_rows[self._question_column][:]]
        golds = gold_answers(source)
        places = answer_places(golds, contexts)
        if is_trained_on:
            refuse_lost(places, golds, source.split)
        windows = windows_of(
            self.processor, questions, contexts, places.spans, max_length=self.data.max_length, shared=self._shared
        )
        if is_main_process():
            _say(source.split, len(questions), windows, places)
        texts = [[str(text) for text in gold["text"]] for gold in golds]
        return _Opened(Questions(windows, questions, contexts, texts), places.is_lost)

    def transform(self, example: dict[str, Tensor], key: Tensor) -> dict[str, Tensor]:
        return example

    def collate(self, examples: Sequence[dict[str, Tensor]], keys_B: Tensor) -> Batch:
        apart = (*_CHARS, "targets")
        inputs = [{name: one[name] for name in one if name not in apart} for one in examples]
        targets_B2 = torch.stack([one["targets"] for one in examples])
        return encoded_batch(inputs, self.processor.pad_token_id) | {"targets": targets_B2}

    def eval_transform(self, examples: Sequence[Asked], first: int = 0) -> Batch:
        ids_N = torch.arange(first, first + len(examples))
        keys_N = sample_keys(0, torch.full_like(ids_N, -1), ids_N)
        windows = [window for one in examples for window in one["windows"]]
        batch = self.collate(windows, keys_N)
        for name in _CHARS:
            batch[name] = _padded([window[name] for window in windows])
        counts = torch.tensor([len(one["windows"]) for one in examples])
        batch["questions"] = torch.repeat_interleave(torch.arange(len(examples)), counts)
        batch["contexts"] = _padded([_code_points(one["context"]) for one in examples])
        most = max(len(one["golds"]) for one in examples)
        golds = [_code_points(gold) for one in examples for gold in one["golds"] + [None] * (most - len(one["golds"]))]
        batch["golds"] = _padded(golds).view(len(examples), most, -1) if golds else torch.zeros(len(examples), 0, 1)
        return batch | {"sample_ids": ids_N, "keys": keys_N}

    def shown(self, example: Asked) -> str:
        """A question for people."""
        return str(example["question"])


def _code_points(text: str | None) -> Tensor:
    """(L,) int64; of no text one that no text has."""
    return torch.tensor([NOT_TEXT - 1] if text is None else [ord(letter) for letter in text], dtype=torch.int64)


def text_of(points_L: Tensor) -> str | None:
    """The text of a row of `contexts` or `golds`; None for no text."""
    points = [point for point in points_L.tolist() if point != NOT_TEXT]
    return None if points == [NOT_TEXT - 1] else "".join(map(chr, points))


def _padded(rows: Sequence[Tensor]) -> Tensor:
    longest = max(1, *(len(row) for row in rows))
    joined = torch.full((len(rows), longest), NOT_TEXT, dtype=torch.int64)
    for place, row in enumerate(rows):
        joined[place, : len(row)] = row
    return joined


def _say(split: str, num_questions: int, windows: Windows, places: Places) -> None:
    if (num_windows := len(windows.tokens)) > num_questions:
        print(f"{num_questions} questions of {split} make {num_windows} windows")
    if windows.num_cut:
        print(f"{windows.num_cut} questions of {split} are longer than half of a window and are cut there")
    if places.num_in_bytes:
        print(f"{places.num_in_bytes} answers of {split} stand at an answer_start that counts bytes: read as such")
    if num_lost := sum(places.is_lost):
        print(f"{num_lost} of {num_questions} answers of {split} do not stand at their answer_start: not trained on")
