"""What masked and causal language models share: a stock model behind an Auto class, its features and its export.

B rows, T tokens, D width.
"""

import copy
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor
from transformers import AutoConfig

from hfssl.data.text_spec import TextSpec
from hfssl.fields import ConfigError
from hfssl.methods.language_model_settings import LanguageModelConfig
from hfssl.nn.isolation import check_isolation, packed_inputs
from hfssl.objective import Batch, Export, LoadReport, Objective

POOLING = "mean"
_SPECIAL_TOKENS = ("pad", "bos", "eos", "cls", "sep", "mask")
_MORE_POSITIONS = 2  # RoBERTa and its kin count positions from the padding id on


class LanguageModel(Objective):
    """A language-model head of transformers on its base model."""

    modality: ClassVar[Literal["text", "image", "audio"]] = "text"
    auto_class: ClassVar[Any]
    is_causal: ClassVar[bool]

    def __init__(self, model: Any, tokenizer: Any, is_packed: bool) -> None:
        super().__init__()
        self.model = model
        self._tokenizer = tokenizer
        self._is_packed = is_packed

    @property
    def batch_coupled(self) -> bool:
        return False

    @classmethod
    def build(cls, config: LanguageModelConfig, spec: TextSpec, model_config: Any) -> Self:
        fitted = fitted_config(config, spec, model_config)
        try:
            model = cls.auto_class.from_config(fitted)
        except (ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(f"--model_type {fitted.model_type} can not be built: {reason}") from error
        if spec.is_packed:
            check_isolation(model, causal=cls.is_causal)
        return cls(model, spec.processor, spec.is_packed)

    def load_pretrained(self, checkpoint: str) -> LoadReport:
        stored, info = self.auto_class.from_pretrained(checkpoint, output_loading_info=True)
        found, missing = stored.state_dict(), set(info["missing_keys"])
        own = self.model.state_dict()
        loaded = sorted(name for name in own if name in found and name not in missing)
        for name in loaded:
            if found[name].shape != own[name].shape:
                shapes = f"{tuple(found[name].shape)} in {checkpoint}, {tuple(own[name].shape)} here"
                raise ConfigError(f"--init_from {checkpoint}: {name} does not fit: {shapes}")
            own[name].copy_(found[name])
        return LoadReport(loaded, sorted(own.keys() - set(loaded)), sorted(info["unexpected_keys"]))

    def inputs(self, batch: Batch) -> dict[str, Any]:
        """What the stock model takes, so that no document sees another one."""
        segments_BT = batch["segments"]
        if self._is_packed:
            return {"input_ids": batch["input_ids"]} | packed_inputs(self.model, segments_BT, causal=self.is_causal)
        return {"input_ids": batch["input_ids"], "attention_mask": (segments_BT > 0).long()}

    def features(self, batch: Batch) -> Tensor:
        """Mean of the last hidden state over a document's tokens; (B, D)."""
        seen_BT = (batch["segments"] > 0).long()
        hidden_BTD = self.model.base_model(input_ids=batch["input_ids"], attention_mask=seen_BT).last_hidden_state
        weights_BT1 = seen_BT[:, :, None].to(hidden_BTD.dtype)
        pooled: Tensor = (hidden_BTD * weights_BT1).sum(dim=1) / weights_BT1.sum(dim=1)
        return pooled

    def export(self) -> Export:
        model = copy.deepcopy(self.model).eval()
        model.config.hfssl_pooling = POOLING
        return Export(model, self._tokenizer)

    def enable_gradient_checkpointing(self) -> None:
        self.model.gradient_checkpointing_enable()


def fitted_config(config: LanguageModelConfig, spec: TextSpec, model_config: Any) -> Any:
    """A transformers config with the tokenizer's vocabulary and special tokens, and room for the rows' positions."""
    if model_config is None:
        fitted = AutoConfig.for_model(
            config.model_type,
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            max_position_embeddings=spec.data.max_length + _MORE_POSITIONS,
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
    fitted.vocab_size = len(spec.processor)
    for name in _SPECIAL_TOKENS:
        if getattr(spec.processor, f"{name}_token_id", None) is not None:
            _set(fitted, f"{name}_token_id", getattr(spec.processor, f"{name}_token_id"))
    return fitted


def _set(config: Any, name: str, value: Any) -> None:
    """Only what the architecture knows."""
    if name in config.to_dict() or name in config.attribute_map:
        setattr(config, name, value)


@torch.no_grad()
def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of the targets that are the model's first guess; 0-d, 0 without a target."""
    targets = labels != -100
    hits = (logits.argmax(dim=-1) == labels) & targets
    return hits.sum() / targets.sum().clamp(min=1)
