"""What masked and causal language models share: a stock model behind an Auto class, its features and its export.

B rows, T tokens, D width.
"""

import copy
import math
from functools import partial
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

import torch
from torch import Tensor
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.auto.auto_factory import _BaseAutoModelClass

from hfssl.checkpoints.adapter_files import adapter_at
from hfssl.checkpoints.locate import loading
from hfssl.checkpoints.weights import stored_weights, take_weights
from hfssl.config.invocation import command
from hfssl.data.texts.pipeline import TextPipeline
from hfssl.errors import ConfigError, require
from hfssl.methods.language_model_settings import LanguageModelConfig
from hfssl.methods.vocabulary import check_vocabulary, first_rows
from hfssl.models.document_masking import check_document_masking, packed_inputs
from hfssl.models.lora import Adapter, base_tensors, has_adapter, merged, open_adapted, with_adapter
from hfssl.objective import Batch, Export, LoadReport, Objective

POOLING = "mean"
_SPECIAL_TOKENS = ("pad", "bos", "eos", "cls", "sep", "mask")
_MORE_POSITIONS = 2  # RoBERTa and its kin count positions from the padding id on


LanguageSettings = TypeVar("LanguageSettings", bound=LanguageModelConfig)


class LanguageModel(Objective[LanguageSettings, TextPipeline], Generic[LanguageSettings]):
    """A language-model head of transformers on its base model; with adapters in it (models/lora.py) only they are trained."""

    modality: ClassVar[Literal["text", "image", "audio"]] = "text"
    max_healthy_update = 0.3  # from N(0, 0.02) weights grow manifold
    auto_class: ClassVar[type[_BaseAutoModelClass]]
    is_causal: ClassVar[bool]

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, is_packed: bool, *, exports_whole: bool = True
    ) -> None:
        super().__init__()
        self.model = model
        self._tokenizer = tokenizer
        self._is_packed = is_packed
        self._exports_whole = exports_whole

    @property
    def batch_coupled(self) -> bool:
        return False

    @classmethod
    def build(cls, config: LanguageSettings, pipeline: TextPipeline, model_config: PretrainedConfig | None) -> Self:
        fitted = fitted_config(config, pipeline, model_config)
        try:
            model = cls.auto_class.from_config(fitted)
        except (ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(f"--model_type {fitted.model_type} cannot be built: {reason}") from error
        if config.lora:
            with_adapter(model, config, task_type="CAUSAL_LM" if cls.is_causal else None)
        if pipeline.is_packed:
            check_document_masking(model, causal=cls.is_causal)
        return cls(model, pipeline.processor, pipeline.is_packed, exports_whole=config.merge or not config.lora)

    def load_pretrained(self, checkpoint: str) -> LoadReport:
        self._check_base(checkpoint)
        said = f"--init_from {checkpoint}"
        with loading(said):
            opened, info = open_adapted(self.auto_class, checkpoint)
        opened = merged(opened) if has_adapter(opened) else opened
        num_rows = opened.config.get_text_config().vocab_size
        check_vocabulary(self._tokenizer, checkpoint, num_rows)
        stored = stored_weights(said, opened, info)
        fitted = partial(first_rows, num_rows=num_rows)
        report = take_weights(base_tensors(self.model), stored, fitted=fitted)
        require(
            not (report.new and has_adapter(self.model)),
            f"{said} lacks weights of {type(self.model).__name__} ({', '.join(report.new[:3])}), which --lora would leave "
            "random: name a checkpoint with this head, or leave --lora out",
        )
        return report

    def _check_base(self, checkpoint: str) -> None:
        """An adapter names the model that it belongs to, so that one on top of another could not be loaded from its files."""
        require(
            self._exports_whole or adapter_at(checkpoint) is None,
            f"--init_from {checkpoint} is an adapter itself: add --merge to export the whole model, or merge it first "
            f"({command('export', '--run', 'RUN', '--merge')}) and start from that folder",
        )

    def inputs(self, batch: Batch) -> dict[str, Any]:
        """What the stock model takes, so that no document sees another one."""
        segments_BT = batch["segments"]
        if self._is_packed:
            return {"input_ids": batch["input_ids"]} | packed_inputs(self.model, segments_BT, causal=self.is_causal)
        return {"input_ids": batch["input_ids"], "attention_mask": (segments_BT > 0).long()}

    def uniform_guess(self, loss_sum: Tensor) -> Tensor:
        """The loss per target of a uniform distribution over all tokens; 0-d, on the device of `loss_sum`."""
        return torch.full_like(loss_sum.detach(), math.log(self.model.config.get_text_config().vocab_size))

    def features(self, batch: Batch) -> Tensor:
        """Mean of the last hidden state over a document's tokens; (B, D)."""
        seen_BT = (batch["segments"] > 0).long()
        hidden_BTD = self.model.base_model(input_ids=batch["input_ids"], attention_mask=seen_BT).last_hidden_state
        weights_BT1 = seen_BT[:, :, None].to(hidden_BTD.dtype)
        pooled: Tensor = (hidden_BTD * weights_BT1).sum(dim=1) / weights_BT1.sum(dim=1)
        return pooled

    def export(self) -> Export:
        if not self._exports_whole:
            return Export(Adapter(self.model), self._tokenizer)
        model = merged(self.model)
        model.config.hfssl_pooling = POOLING
        return Export(model, self._tokenizer)

    def enable_gradient_checkpointing(self) -> None:
        self.model.gradient_checkpointing_enable()


def fitted_config(
    config: LanguageModelConfig, pipeline: TextPipeline, model_config: PretrainedConfig | None
) -> PretrainedConfig:
    """A transformers config with the tokenizer's vocabulary and special tokens, and room for the rows' positions."""
    if model_config is None:
        fitted = AutoConfig.for_model(
            config.model_type,
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            max_position_embeddings=pipeline.data.max_length + _MORE_POSITIONS,
        )
        _set(fitted, "intermediate_size", config.intermediate_size or 4 * config.hidden_size)
        _set(fitted, "hidden_dim", config.intermediate_size or 4 * config.hidden_size)  # DistilBERT's name for it
        _set(fitted, "num_key_value_heads", config.num_attention_heads)
        _set(fitted, "head_dim", config.hidden_size // config.num_attention_heads)
        for name, value in fitted.to_dict().items():
            if name.endswith(("dropout", "pdrop", "dropout_prob")) and isinstance(value, (int, float)):
                setattr(fitted, name, config.dropout)
    else:
        fitted = copy.deepcopy(model_config)
    if not config.lora:  # its base stays as it is, also where the vocabulary is padded to a round number
        fitted.vocab_size = len(pipeline.processor)
    for name in _SPECIAL_TOKENS:
        if getattr(pipeline.processor, f"{name}_token_id", None) is not None:
            _set(fitted, f"{name}_token_id", getattr(pipeline.processor, f"{name}_token_id"))
    return fitted


def _set(config: PretrainedConfig, name: str, value: int) -> None:
    """Only what the architecture knows."""
    if name in config.to_dict() or name in config.attribute_map:
        setattr(config, name, value)


@torch.no_grad()
def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of the targets that are the model's first guess; 0-d, 0 without a target."""
    targets = labels != -100
    hits = (logits.argmax(dim=-1) == labels) & targets
    return hits.sum() / targets.sum().clamp(min=1)
