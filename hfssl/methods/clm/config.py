"""Causal language modelling (Radford et al. 2019): predict each token of a text from those before it."""

from dataclasses import dataclass
from typing import ClassVar, Self

from hfssl.config.fields import option
from hfssl.methods.language_model_settings import LanguageModelConfig


@dataclass(frozen=True, kw_only=True)
class CLMConfig(LanguageModelConfig):
    recipe: ClassVar[str] = "clm"
    pipeline_tag: ClassVar[str] = "text-generation"
    loss_unit: ClassVar[str] = "nats per token"

    model_type: str = option(
        "gpt2", "architecture of transformers to build, any behind AutoModelForCausalLM", basic=True
    )

    @classmethod
    def tiny(cls) -> Self:
        return cls(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, dropout=0.0)
