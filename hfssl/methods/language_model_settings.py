"""What both language models can be told: the size of the model that is built, whatever its architecture."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from hfssl.config.fields import option
from hfssl.config.sections import Kind, MethodConfig
from hfssl.errors import require
from hfssl.models.lora_settings import LoraSettings

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")


@dataclass(frozen=True, kw_only=True)
class LanguageModelConfig(LoraSettings, MethodConfig):
    modality: ClassVar[Literal["text", "image", "audio"]] = "text"
    architecture_fields: ClassVar[frozenset[str]] = frozenset(("model_type", "dropout", *_SIZES))
    takes_adapters: ClassVar[bool] = True

    model_type: str = option("bert", "architecture of transformers to build")
    hidden_size: int = option(768, "width of the model")
    num_hidden_layers: int = option(12, "layers of the model")
    num_attention_heads: int = option(12, "attention heads of the model")
    intermediate_size: int | None = option(None, "width of the MLPs (default: 4 x hidden_size)")
    dropout: float = option(0.1, "share of dropped units, everywhere where the architecture drops some")

    def __post_init__(self) -> None:
        for name in ("hidden_size", "num_hidden_layers", "num_attention_heads"):
            require(getattr(self, name) > 0, f"{name} must be above 0, got {getattr(self, name)}")
        require(
            self.hidden_size % self.num_attention_heads == 0,
            f"hidden_size {self.hidden_size} must be a multiple of num_attention_heads {self.num_attention_heads}",
        )
        require(0 <= self.dropout < 1, f"dropout must be in [0, 1), got {self.dropout:g}")
        self.check_lora()

    @property
    def kind(self) -> Kind:
        return "language_model"

    def check_start(self, init_from: str | None) -> None:
        self.check_base(init_from)

    def adopt(
        self, data: Any, model_config: "PretrainedConfig", given: frozenset[str]
    ) -> tuple["LanguageModelConfig", Any]:
        """Sizes and kind of a loaded config; its dropout stays its own, and rows are no longer than its positions reach."""
        positions = getattr(model_config, "max_position_embeddings", None)
        if isinstance(positions, int):
            room = (
                positions - 2 if getattr(model_config, "pad_token_id", None) == 1 else positions
            )  # RoBERTa counts from 2
            too_long = data.max_length > room
            require(
                not too_long or "max_length" not in given,
                f"max_length {data.max_length} is more than the {room} positions of this model: set --max_length {room}",
            )
            data = dataclasses.replace(data, max_length=room) if too_long else data
        sizes = {name: getattr(model_config, name, None) for name in _SIZES}
        known: dict[str, Any] = {name: value for name, value in sizes.items() if isinstance(value, int)}
        return dataclasses.replace(self, model_type=model_config.model_type, **known, **self.written_out()), data
