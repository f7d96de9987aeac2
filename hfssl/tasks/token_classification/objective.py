"""Entities in sentences: a stock token classifier on a pretrained language model says a tag for each word.

B samples, T tokens, W words, C tags.

Devlin et al. 2019, "BERT: pre-training of deep bidirectional transformers", arXiv 1810.04805, section 5.3: a word's tag is
said at its first piece; the loss is the cross-entropy there, and nothing is asked of other pieces and special tokens. Tags are
IOB2. Words that do not fit into `--max_length` tokens are counted, not trained on, and scored as outside of all entities. A
frozen body is run in every step: sentences are of all lengths, so that its outputs are not kept.

    hfssl finetune --task token_classification --model RUN --dataset path/to/tagged/sentences
"""

from dataclasses import replace
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoModelForTokenClassification, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.auto.auto_factory import _BaseAutoModelClass

from hfssl.data.labels import balanced_weights
from hfssl.data.source import Source
from hfssl.data.texts.config import TextDataConfig
from hfssl.data.texts.tagged_words import IGNORED, TaggedWords, known_tags, tag_names_of
from hfssl.data.texts.word_encodings import for_single_words
from hfssl.nn.precision import to_float32
from hfssl.objective import Batch, StepOutput
from hfssl.tasks.text_task import TextTask, task_tokenizer, with_head
from hfssl.tasks.token_classification.config import TokenClassificationConfig

_OUTSIDE = "O"


class TokenClassification(TextTask[TokenClassificationConfig, TaggedWords]):
    class_weights_C: Tensor
    auto_class: ClassVar[type[_BaseAutoModelClass]] = AutoModelForTokenClassification

    def __init__(
        self,
        config: TokenClassificationConfig,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        class_weights_C: Tensor,
    ) -> None:
        super().__init__(config, model, tokenizer)
        self.register_buffer("class_weights_C", class_weights_C)

    @classmethod
    def with_rows(cls, config: TokenClassificationConfig, source: Source) -> TokenClassificationConfig:
        """The tags as class names, unless given."""
        return config if config.class_names is not None else replace(config, class_names=tuple(tag_names_of(source)))

    @classmethod
    def check_rows(cls, config: TokenClassificationConfig, source: Source) -> list[str]:
        known_tags(source, config.class_names or ())
        return []

    @classmethod
    def data_pipeline(
        cls, config: TokenClassificationConfig, data: TextDataConfig, source: Source | None
    ) -> TaggedWords:
        assert config.class_names is not None, "found in the data before a run is opened"
        return TaggedWords(data, for_single_words(task_tokenizer(config, data, source)), config.class_names)

    @classmethod
    def build(
        cls, config: TokenClassificationConfig, pipeline: TaggedWords, model_config: PretrainedConfig | None
    ) -> Self:
        model = with_head(cls.auto_class, config, pipeline.processor, model_config, pipeline.class_names)
        weights_C = torch.ones(len(pipeline.class_names))
        if config.class_weights == "balanced":
            weights_C = torch.from_numpy(balanced_weights(pipeline.counts_C)).float()
        return cls(config, model, pipeline.processor, weights_C)

    def forward(self, batch: Batch, progress: float) -> StepOutput:
        logits_BTC, labels_BT = self.logits(batch), batch["labels"]
        smoothing, is_asked_BT = self.config.label_smoothing, labels_BT != IGNORED
        weights_BT = self.class_weights_C[labels_BT.clamp(min=0)] * is_asked_BT
        losses_BT = cross_entropy(
            logits_BTC.transpose(1, 2), labels_BT, ignore_index=IGNORED, label_smoothing=smoothing, reduction="none"
        )
        right_BT = (logits_BTC.detach().argmax(dim=2) == labels_BT) & is_asked_BT
        accuracy = right_BT.sum() / is_asked_BT.sum().clamp(min=1)
        return StepOutput((losses_BT * weights_BT).sum(), weights_BT.sum(), {"accuracy": accuracy})

    def logits(self, batch: Batch) -> Tensor:
        """(B, T, C) float32."""
        return to_float32(self.model(**self.inputs(batch)).logits)

    def predictions(self, batch: Batch) -> list[tuple[list[str], list[str]]]:
        """(tags said, true tags) of all words of each sentence, by name; O is said of a word without a token."""
        names = self.config.class_names
        assert names is not None, "found in the data before a run is opened"
        said_BT = self.logits(batch).argmax(dim=2)
        places_BW, tags_BW = batch["places"], batch["tags"].cpu()
        said_BW = said_BT.gather(1, places_BW.clamp(min=0)).cpu()
        found = []
        for said_W, tags_W, places_W in zip(said_BW, tags_BW, places_BW.cpu(), strict=True):
            is_word_W = tags_W != IGNORED
            said, true, places = (column[is_word_W].tolist() for column in (said_W, tags_W, places_W))
            words = zip(said, places, strict=True)
            found.append(
                ([names[tag] if place >= 0 else _OUTSIDE for tag, place in words], [names[tag] for tag in true])
            )
        return found
