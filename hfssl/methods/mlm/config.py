"""Masked language modelling (Devlin et al. 2019): hide some tokens of a text, predict them from the rest."""

from dataclasses import dataclass
from typing import ClassVar, Self

from hfssl.config.fields import option
from hfssl.errors import require
from hfssl.methods.language_model_settings import LanguageModelConfig


@dataclass(frozen=True, kw_only=True)
class MLMConfig(LanguageModelConfig):
    recipe: ClassVar[str] = "mlm"
    pipeline_tag: ClassVar[str] = "fill-mask"
    loss_unit: ClassVar[str] = "nats per masked token"

    model_type: str = option(
        "bert", "architecture of transformers to build, any behind AutoModelForMaskedLM", basic=True
    )
    mask_ratio: float = option(0.15, "share of the tokens that is predicted", basic=True)
    whole_word: bool = option(False, "choose whole words instead of tokens")

    def __post_init__(self) -> None:
        super().__post_init__()
        hint = f"; for {self.mask_ratio:g} % write {self.mask_ratio / 100:g}" if 1 <= self.mask_ratio < 100 else ""
        require(0 < self.mask_ratio < 1, f"mask_ratio must be in (0, 1), got {self.mask_ratio:g}{hint}")

    @classmethod
    def tiny(cls) -> Self:
        return cls(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, dropout=0.0)
