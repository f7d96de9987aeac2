"""Masked language model: 15 % of a text's tokens are chosen, most of them hidden, and predicted from the rest.

Devlin et al. 2019, "BERT: pre-training of deep bidirectional transformers", arXiv 1810.04805, section 3.1, task 1: of the
chosen tokens 80 % become the mask token, 10 % a random one, 10 % stay. The loss is the cross-entropy at the chosen ones.

B rows, T tokens, S slots, V vocabulary.

The model is any stock one behind `AutoModelForMaskedLM`. Where we differ from transformers' example and its collator:
- the head and the loss are computed at the chosen tokens only: the same numbers for a sixth of the work.
- documents are packed into full rows and never see each other; nothing is cut off.
- masks belong to the sample, the number of slots is fixed, and `--whole_word` keeps the mask ratio for words of
  every length. BERT's release takes words while they fit, which masks long ones half as often.
- there is no next-sentence task (Liu et al. 2019, arXiv 1907.11692, table 2).

    hfssl mlm --dataset path/to/texts --train_tokenizer wordpiece
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from transformers import AutoModelForMaskedLM, PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.auto.auto_factory import _BaseAutoModelClass

from hfssl.data.source import Source
from hfssl.data.texts.config import TextDataConfig
from hfssl.data.texts.pipeline import TextBatch, TextPipeline
from hfssl.data.texts.tokenizer import open_tokenizer
from hfssl.errors import require
from hfssl.methods.language_model import LanguageModel, accuracy
from hfssl.methods.mlm.config import MLMConfig
from hfssl.methods.mlm.demonstration import filled_blanks
from hfssl.methods.mlm.masking import corrupted, masked_positions_of
from hfssl.models.early_positions import earliest_cut
from hfssl.nn.masked_positions import IGNORED, logits_at, masked_position_loss
from hfssl.objective import Batch, Example, StepOutput


@dataclass(frozen=True)
class MaskedTokens:
    """Draws `slots` (B, S) and `labels` (B, S), and hides the chosen tokens in `input_ids`."""

    mask_ratio: float
    whole_word: bool
    mask_id: int
    vocab_size: int

    def __call__(self, keys_B: Tensor, rows: TextBatch) -> dict[str, Tensor]:
        words = rows.word_starts_BT if self.whole_word else None
        slots_BS, used_BS = masked_positions_of(keys_B, rows.maskable_BT, self.mask_ratio, words)
        input_ids_BT, labels_BS = corrupted(
            rows.input_ids_BT, slots_BS, used_BS, keys_B, mask_id=self.mask_id, vocab_size=self.vocab_size
        )
        return {"input_ids": input_ids_BT, "slots": slots_BS, "labels": labels_BS}


class MLM(LanguageModel[MLMConfig]):
    auto_class: ClassVar[type[_BaseAutoModelClass]] = AutoModelForMaskedLM
    is_causal: ClassVar[bool] = False

    @classmethod
    def data_pipeline(cls, config: MLMConfig, data: TextDataConfig, source: Source | None) -> TextPipeline:
        tokenizer = open_tokenizer(data, source)
        require(
            tokenizer.mask_token_id is not None,
            f"the tokenizer {data.tokenizer} has no mask token: choose one made for masked language models, or use clm",
        )
        draw = MaskedTokens(config.mask_ratio, config.whole_word, tokenizer.mask_token_id, len(tokenizer))
        return TextPipeline(data, tokenizer, is_causal=False, draw=draw)

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, is_packed: bool, *, exports_whole: bool = True
    ) -> None:
        super().__init__(model, tokenizer, is_packed, exports_whole=exports_whole)
        self._cut = earliest_cut(model)

    def enable_gradient_checkpointing(self) -> None:
        super().enable_gradient_checkpointing()
        self._cut = None

    def forward(self, batch: Batch, progress: float) -> StepOutput:
        logits_BSV = logits_at(self.model, batch["slots"], self.inputs(batch), cut=self._cut)
        loss_sum, num_targets = masked_position_loss(logits_BSV, batch["labels"])
        hits = accuracy(logits_BSV, batch["labels"])
        return StepOutput(loss_sum, num_targets, {"accuracy": hits, "baseline_loss": self.uniform_guess(loss_sum)})

    def validation_figures(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Share of the masked tokens that are the first, or among the first five guesses."""
        hits, targets = torch.zeros(2, dtype=torch.int64), 0
        for batch in batches:
            right_BSK = (self.guesses(batch, 5) == batch["labels"][:, :, None]).cpu()
            hits += torch.stack([right_BSK[:, :, 0].sum(), right_BSK.any(dim=2).sum()])
            targets += int((batch["labels"] != IGNORED).sum())
        return {"top_1": int(hits[0]) / max(1, targets), "top_5": int(hits[1]) / max(1, targets)}

    def demonstrate(self, export: Path, samples: Iterable[str], longest: int) -> list[Example]:
        return filled_blanks(export, self._tokenizer, samples, longest)

    @torch.no_grad()
    def guesses(self, batch: Batch, num: int) -> Tensor:
        """(B, S, num): the likeliest tokens of each slot."""
        return logits_at(self.model, batch["slots"], self.inputs(batch)).topk(num, dim=-1).indices
