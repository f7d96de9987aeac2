"""Causal language model: each token of a text is predicted from those before it.

Brown et al. 2020, "Language models are few-shot learners", arXiv 2005.14165, and Radford et al. 2019 before it. The
architecture is any stock one behind `AutoModelForCausalLM`; the loss is the cross-entropy of the next token.

B rows, T tokens, V vocabulary.

Where we differ from transformers' example, which glues all documents together and cuts the tape into blocks:
- documents are packed into rows and never see each other; positions restart with each, and no token is predicted across a
  boundary.
- the end of a document is learnt: its last token predicts the end-of-sequence token, also where that is the padding token.

    hfssl clm --dataset path/to/texts --train_tokenizer bpe
"""

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.models.auto.auto_factory import _BaseAutoModelClass

from hfssl.data.source import Source
from hfssl.data.texts.config import TextDataConfig
from hfssl.data.texts.pipeline import TextBatch, TextPipeline
from hfssl.data.texts.tokenizer import open_tokenizer
from hfssl.errors import require
from hfssl.methods.clm.config import CLMConfig
from hfssl.methods.clm.demonstration import continued
from hfssl.methods.language_model import LanguageModel
from hfssl.nn.masked_positions import causal_loss
from hfssl.objective import Batch, Example, StepOutput


def next_tokens(keys_B: Tensor, rows: TextBatch) -> dict[str, Tensor]:
    """`input_ids` and `labels` (B, T): the token that follows in the same document, -100 where none does."""
    labels_BT = rows.input_ids_BT.roll(-1, dims=1)
    follows_BT = (rows.segments_BT == rows.segments_BT.roll(-1, dims=1)) & (rows.segments_BT > 0)
    follows_BT[:, -1] = False
    return {"input_ids": rows.input_ids_BT, "labels": labels_BT.masked_fill(~follows_BT, -100)}


class CLM(LanguageModel[CLMConfig]):
    auto_class: ClassVar[type[_BaseAutoModelClass]] = AutoModelForCausalLM
    is_causal: ClassVar[bool] = True

    @classmethod
    def data_pipeline(cls, config: CLMConfig, data: TextDataConfig, source: Source | None) -> TextPipeline:
        tokenizer = open_tokenizer(data, source)
        if tokenizer.eos_token_id is None:  # as of BERT's kind, which end a text with their separator
            tokenizer.eos_token = tokenizer.sep_token
        require(
            tokenizer.eos_token_id is not None,
            f"the tokenizer {data.tokenizer} has no end-of-sequence token, so that no text could ever end: choose another one",
        )
        return TextPipeline(data, tokenizer, is_causal=True, draw=next_tokens)

    def forward(self, batch: Batch, progress: float) -> StepOutput:
        loss_sum, num_targets = causal_loss(self.model, self.inputs(batch), batch["labels"])
        return StepOutput(loss_sum, num_targets, {"baseline_loss": self.uniform_guess(loss_sum)})

    def demonstrate(self, export: Path, samples: Iterable[str], longest: int) -> list[Example]:
        return continued(export, self._tokenizer, samples, longest)
