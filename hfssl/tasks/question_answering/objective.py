"""Answers as spans of a text: a stock extractive head on a pretrained language model says where an answer begins and ends.

N questions, B windows, T tokens.

Devlin et al. 2019, "BERT: pre-training of deep bidirectional transformers", arXiv 1810.04805, sections 4.2 and 4.3: the loss is
the mean of the cross-entropies of the first and of the last token; a question without an answer, and a window that does not
hold it, points at the first token. The answer is the span of highest summed logits in any window of a question, and
none where the first token's sum is higher in all of them. Unlike transformers' loss padding has no part in the softmax, so that a
window's loss does not depend on its batch.

    hfssl finetune --task question_answering --model RUN --dataset path/to/questions
"""

from dataclasses import replace
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoModelForQuestionAnswering, PretrainedConfig
from transformers.models.auto.auto_factory import _BaseAutoModelClass

from hfssl.data.source import Source
from hfssl.data.texts.config import TextDataConfig
from hfssl.data.texts.questions import QuestionPipeline, gold_answers, text_of
from hfssl.nn.answer_spans import WindowLogits, best_answer
from hfssl.nn.precision import to_float32
from hfssl.objective import Batch, StepOutput
from hfssl.tasks.question_answering.config import QuestionAnsweringConfig
from hfssl.tasks.text_task import TextTask, task_tokenizer, with_head

_LABELS = ("LABEL_0", "LABEL_1")  # as stock names the first and the last token of an answer


class QuestionAnswering(TextTask[QuestionAnsweringConfig, QuestionPipeline]):
    auto_class: ClassVar[type[_BaseAutoModelClass]] = AutoModelForQuestionAnswering

    @classmethod
    def with_rows(cls, config: QuestionAnsweringConfig, source: Source) -> QuestionAnsweringConfig:
        """`unanswerable` as the training rows have it, unless given."""
        if config.unanswerable is not None:
            return config
        return replace(config, unanswerable=any(not gold["text"] for gold in gold_answers(source)))

    @classmethod
    def check_rows(cls, config: QuestionAnsweringConfig, source: Source) -> list[str]:
        without = sum(not gold["text"] for gold in gold_answers(source))
        if config.unanswerable or not without:
            return []
        return [
            f"{without} of {len(source)} questions of {source.split} have no answer, and get one: unanswerable is false"
        ]

    @classmethod
    def data_pipeline(
        cls, config: QuestionAnsweringConfig, data: TextDataConfig, source: Source | None
    ) -> QuestionPipeline:
        tokenizer = task_tokenizer(config, data, source)
        return QuestionPipeline(data, tokenizer, config.question_column, config.doc_stride)

    @classmethod
    def build(
        cls, config: QuestionAnsweringConfig, pipeline: QuestionPipeline, model_config: PretrainedConfig | None
    ) -> Self:
        model = with_head(cls.auto_class, config, pipeline.processor, model_config, _LABELS)
        return cls(config, model, pipeline.processor)

    def forward(self, batch: Batch, progress: float) -> StepOutput:
        logits_BT2 = self.logits(batch)
        losses_B2 = cross_entropy(logits_BT2, batch["targets"], reduction="none")
        found_B2 = logits_BT2.detach().argmax(dim=1) == batch["targets"]
        count = torch.full_like(losses_B2[0, 0].detach(), len(losses_B2))
        return StepOutput(losses_B2.mean(dim=1).sum(), count, {"both_ends": found_B2.all(dim=1).float().mean()})

    def logits(self, batch: Batch) -> Tensor:
        """(B, T, 2) float32, of the first and of the last token; the lowest number on padding."""
        output = self.model(**self.inputs(batch))
        logits_BT2 = to_float32(torch.stack([output.start_logits, output.end_logits], dim=2))
        is_padding_BT1 = batch["attention_mask"][:, :, None] == 0
        return logits_BT2.masked_fill(is_padding_BT1, torch.finfo(logits_BT2.dtype).min)

    def predictions(self, batch: Batch) -> list[tuple[str, list[str]]]:
        """(text said, gold texts) of each question; an empty text is no answer."""
        logits_BT2 = self.logits(batch).float()
        windows: dict[int, list[WindowLogits]] = {}
        for window, question in enumerate(batch["questions"].tolist()):
            parts = logits_BT2[window], batch["char_starts"][window], batch["char_ends"][window]
            windows.setdefault(question, []).append(WindowLogits(*parts))
        found = []
        for question, (context_L, golds_GL) in enumerate(zip(batch["contexts"], batch["golds"], strict=True)):
            best, nothing = best_answer(windows[question], self.config.max_answer_length)
            is_none = self.config.unanswerable and nothing.score > best.score
            said = "" if is_none else (text_of(context_L) or "")[best.begin : best.end]
            golds = [gold for gold in map(text_of, golds_GL) if gold is not None]
            found.append((said, golds))
        return found
