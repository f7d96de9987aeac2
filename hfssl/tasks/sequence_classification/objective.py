"""Classes of texts or of pairs of texts, or a number for each: a stock sequence classifier on a pretrained language model.

B texts, C classes, W width of what the head reads.

Devlin et al. 2019, "BERT: pre-training of deep bidirectional transformers", arXiv 1810.04805, section 4.1: the head reads the
first token's last hidden state, in stock decoders that of the last token. The loss is the cross-entropy, for numbers
the squared error, as transformers' own with one label.

Texts are padded to the longest of their batch, in the order of the keys, and cut at `--max_length` tokens. A frozen body is
run once a text, where its head reads one vector of it (models/head_reading.py); BERT's pooler is part of the head, since masked
language models do not train it.

    hfssl finetune --task sequence_classification --model RUN --dataset path/to/labelled/texts
"""

from dataclasses import replace
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.auto_factory import _BaseAutoModelClass

from hfssl.data.head_inputs import HeadInputsPipeline, content_of
from hfssl.data.labels import balanced_weights, class_numbers
from hfssl.data.source import Source
from hfssl.data.texts.config import TextDataConfig
from hfssl.data.texts.labelled import LabelledTexts, few_whole_numbers, holds_floats, numbers_of
from hfssl.distributed import is_main_process
from hfssl.errors import require
from hfssl.models.head_reading import head_logits, read, reading_of
from hfssl.models.text_head import body_of, load_into
from hfssl.nn.precision import to_float32
from hfssl.objective import Array, Batch, StepOutput
from hfssl.tasks.sequence_classification.config import SequenceClassificationConfig
from hfssl.tasks.text_task import TextTask, reads_types, task_tokenizer, with_head


class SequenceClassification(TextTask[SequenceClassificationConfig, LabelledTexts | HeadInputsPipeline[LabelledTexts]]):
    class_weights_C: Tensor
    auto_class: ClassVar[type[_BaseAutoModelClass]] = AutoModelForSequenceClassification

    def __init__(
        self,
        config: SequenceClassificationConfig,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        class_weights_C: Tensor,
    ) -> None:
        super().__init__(config, model, tokenizer)
        self.register_buffer("class_weights_C", class_weights_C)

    @classmethod
    def with_rows(cls, config: SequenceClassificationConfig, source: Source) -> SequenceClassificationConfig:
        """`problem` as the labels decide it."""
        has_floats = holds_floats(source)
        few = few_whole_numbers(source) if has_floats else None
        require(
            few is None or config.problem != "auto",
            f"the labels in {source.label_column} are {', '.join(few or [])}, stored as floats: set --problem classes, or "
            "--problem numbers to learn them as numbers",
        )
        require(
            not has_floats or few is not None or config.problem != "classes",
            f"the labels in {source.label_column} are floats, which name no classes: leave --problem classes out",
        )
        if config.problem == "auto":
            config = replace(config, problem="numbers" if has_floats else "classes")
            if has_floats and is_main_process():
                print(f"labels      the column {source.label_column} holds floats: numbers are learned (a regression)")
        return config

    @classmethod
    def check_rows(cls, config: SequenceClassificationConfig, source: Source) -> list[str]:
        if config.output_type == "numbers":
            numbers_of(source)
        else:
            class_numbers(source, config.class_names or ())
        return []

    @classmethod
    def data_pipeline(
        cls, config: SequenceClassificationConfig, data: TextDataConfig, source: Source | None
    ) -> LabelledTexts | HeadInputsPipeline[LabelledTexts]:
        tokenizer = task_tokenizer(config, data, source)
        names = None if config.output_type == "numbers" else config.class_names
        whole = LabelledTexts(data, tokenizer, names, config.second_text_column)
        return whole if config.adaptation != "frozen" or source is None else _of_frozen(config, whole)

    @classmethod
    def build(
        cls,
        config: SequenceClassificationConfig,
        pipeline: LabelledTexts | HeadInputsPipeline[LabelledTexts],
        model_config: PretrainedConfig | None,
    ) -> Self:
        whole = pipeline.whole if isinstance(pipeline, HeadInputsPipeline) else pipeline
        weights_C = torch.ones(len(whole.class_names or [""]))
        if config.class_weights == "balanced":
            weights_C = torch.from_numpy(balanced_weights(whole.counts_C)).float()
        return cls(config, _fresh(config, whole, model_config), whole.processor, weights_C)

    def forward(self, batch: Batch, progress: float) -> StepOutput:
        logits_BC, labels_B = self.logits(batch), batch["labels"]
        if self.config.output_type == "numbers":
            losses_B = mse_loss(logits_BC[:, 0], labels_B.to(logits_BC.dtype), reduction="none")
            return StepOutput(losses_B.sum(), torch.ones_like(losses_B.detach()).sum(), {})
        weights_B = self.class_weights_C[labels_B]
        losses_B = cross_entropy(logits_BC, labels_B, label_smoothing=self.config.label_smoothing, reduction="none")
        right_B = logits_BC.detach().argmax(dim=1) == labels_B
        return StepOutput((losses_B * weights_B).sum(), weights_B.sum(), {"accuracy": right_B.float().mean()})

    def logits(self, batch: Batch) -> Tensor:
        """(B, C) float32; C is 1 for numbers."""
        if "head_inputs" in batch:
            return to_float32(head_logits(self.model, batch["head_inputs"]))
        return to_float32(self.model(**self.inputs(batch)).logits)

    def predictions(self, batch: Batch) -> list[tuple[Array | float, int | float]]:
        """(logits (C,) float32, number of the true class) of each text, or (number said, true number)."""
        logits_BC = self.logits(batch).float().cpu().numpy()
        said = logits_BC[:, 0].tolist() if self.config.output_type == "numbers" else logits_BC
        return list(zip(said, batch["labels"].tolist(), strict=True))


def _fresh(
    config: SequenceClassificationConfig, pipeline: LabelledTexts, model_config: PretrainedConfig | None
) -> PreTrainedModel:
    model = with_head(SequenceClassification.auto_class, config, pipeline.processor, model_config, pipeline.class_names)
    numbers = pipeline.class_names is None
    model.config.problem_type = "regression" if numbers else "single_label_classification"
    return model


def _of_frozen(config: SequenceClassificationConfig, whole: LabelledTexts) -> HeadInputsPipeline[LabelledTexts]:
    assert config.model is not None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = _fresh(config, whole, AutoConfig.from_pretrained(config.model))
    load_into(model, SequenceClassification.auto_class, config.model)
    task = SequenceClassification(config, model, whole.processor, torch.ones(1)).eval()
    reading = reading_of(model, task.inputs(whole.trial()))
    task.to(device)

    @torch.inference_mode()
    def encode(batch: Batch) -> Tensor:
        return read(model, reading, task.inputs(batch))

    tokenizer = whole.processor.backend_tokenizer.to_str()
    about = f"{content_of(body_of(model))} {reading} {reads_types(model)} {tokenizer} {whole.data.max_length}"
    return HeadInputsPipeline(whole, encode, device, f"{about} {whole.second_column}")
