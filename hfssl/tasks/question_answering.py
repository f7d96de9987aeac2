"""Answers as spans of a text: a stock extractive head on a pretrained language model says where an answer begins and ends.

N questions, B windows, T tokens.

Devlin et al. 2019, "BERT: pre-training of deep bidirectional transformers", arXiv 1810.04805, sections 4.2 and 4.3: the loss is
the mean of the cross-entropies of the first and of the last token; a question without an answer, and a window that does not
hold it, points at the first token. The answer is the span of highest summed logits in any window of a question, and
none where the first token's sum is higher in all of them. Unlike transformers' loss padding has no part in the softmax, so that a
window's loss does not depend on its batch.

    python recipes/finetune.py --task question_answering --model RUN --dataset path/to/questions
"""

from dataclasses import replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoModelForQuestionAnswering

from hfssl.data.questions import QuestionSpec, gold_answers, text_of
from hfssl.data.source import Source
from hfssl.data.text_config import TextDataConfig
from hfssl.nn.precision import wide
from hfssl.objective import Batch, StepOutput
from hfssl.tasks.question_answering_config import QuestionAnsweringConfig
from hfssl.tasks.text_task import TextTask, task_tokenizer, with_head

_LABELS = ("LABEL_0", "LABEL_1")  # as stock names the first and the last token of an answer


class QuestionAnswering(TextTask):
    auto_class: ClassVar[Any] = AutoModelForQuestionAnswering

    @classmethod
    def with_rows(cls, config: QuestionAnsweringConfig, source: Source) -> QuestionAnsweringConfig:
        """`unanswerable` as the training rows have it, unless given."""
        if config.unanswerable is not None:
            return config
        return replace(config, unanswerable=any(not gold["text"] for gold in gold_answers(source)))

    @classmethod
    def data_spec(cls, config: QuestionAnsweringConfig, data: TextDataConfig, source: Source) -> QuestionSpec:
        tokenizer = task_tokenizer(config, data, source)
        return QuestionSpec(data, tokenizer, config.question_column, config.doc_stride)

    @classmethod
    def build(cls, config: QuestionAnsweringConfig, spec: QuestionSpec, model_config: Any) -> Self:
        model = with_head(cls.auto_class, config, spec.processor, model_config, _LABELS)
        return cls(config, model, spec.processor)

    def forward(self, batch: Batch, progress: float) -> StepOutput:
        logits_BT2 = self.logits(batch)
        losses_B2 = cross_entropy(logits_BT2, batch["targets"], reduction="none")
        found_B2 = logits_BT2.detach().argmax(dim=1) == batch["targets"]
        count = torch.full_like(losses_B2[0, 0].detach(), len(losses_B2))
        return StepOutput(losses_B2.mean(dim=1).sum(), count, {"both_ends": found_B2.all(dim=1).float().mean()})

    def logits(self, batch: Batch) -> Tensor:
        """(B, T, 2) float32, of the first and of the last token; the lowest number on padding."""
        output = self.model(**self.inputs(batch))
        logits_BT2 = wide(torch.stack([output.start_logits, output.end_logits], dim=2))
        is_padding_BT1 = batch["attention_mask"][:, :, None] == 0
        return logits_BT2.masked_fill(is_padding_BT1, torch.finfo(logits_BT2.dtype).min)

    def answers(self, batch: Batch) -> list[Any]:
        """(text said, gold texts) of each question; an empty text is no answer."""
        logits_BT2 = self.logits(batch).float()
        best: dict[int, tuple[float, int, int]] = {}
        nothing: dict[int, float] = {}
        for window, question in enumerate(batch["questions"].tolist()):
            first_T, last_T = logits_BT2[window].unbind(dim=1)
            starts_T, ends_T = batch["char_starts"][window], batch["char_ends"][window]
            score, begin, end = best_span(first_T, last_T, starts_T >= 0, self.config.max_answer_length)
            nothing[question] = min(nothing.get(question, float("inf")), float(first_T[0] + last_T[0]))
            if score > best.get(question, (float("-inf"), 0, 0))[0]:
                best[question] = score, int(starts_T[begin]), int(ends_T[end])
        found = []
        for question, (context_L, golds_GL) in enumerate(zip(batch["contexts"], batch["golds"], strict=True)):
            score, begin, end = best.get(question, (float("-inf"), 0, 0))
            is_none = self.config.unanswerable and nothing[question] > score
            said = "" if is_none else (text_of(context_L) or "")[begin:end]
            golds = [gold for gold in map(text_of, golds_GL) if gold is not None]
            found.append((said, golds))
        return found


def best_span(first_T: Tensor, last_T: Tensor, in_text_T: Tensor, most: int) -> tuple[float, int, int]:
    """(sum of logits, first token, last token) of the best span of at most `most` tokens inside the text."""
    num_tokens = len(first_T)
    lowest = float("-inf")
    first_T, last_T = (logits_T.masked_fill(~in_text_T, lowest) for logits_T in (first_T, last_T))
    allowed_TT = torch.ones(num_tokens, num_tokens, dtype=torch.bool, device=first_T.device).triu().tril(most - 1)
    sums_TT = (first_T[:, None] + last_T[None, :]).masked_fill(~allowed_TT, lowest)
    place = int(sums_TT.argmax())
    return float(sums_TT.flatten()[place]), place // num_tokens, place % num_tokens
