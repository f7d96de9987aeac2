"""What a method on a vision backbone can be told of it: the sizes of a ViT, or any vision config of transformers instead."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from hfssl.config.fields import option
from hfssl.config.sections import DataConfig, MethodConfig
from hfssl.data.images.config import ImageDataConfig, one_number
from hfssl.errors import require

if TYPE_CHECKING:
    from transformers import PretrainedConfig

SIZES = ("patch_size", "hidden_size", "num_hidden_layers", "num_attention_heads")


@dataclass(frozen=True, kw_only=True)
class BackboneSettings(MethodConfig):
    """Base of such methods' configs. A subclass with a `__post_init__` of its own calls this one."""

    modality: ClassVar[Literal["text", "image", "audio"]] = "image"
    pipeline_tag: ClassVar[str] = "image-feature-extraction"
    reference_batch: ClassVar[int | None] = 256
    architecture_fields: ClassVar[frozenset[str]] = frozenset((*SIZES, "intermediate_size"))

    patch_size: int | None = option(
        16, "side of a patch in pixels; none: another architecture, which has none", basic=True
    )
    hidden_size: int | None = option(768, "width of the ViT; none: another architecture's own")
    num_hidden_layers: int | None = option(12, "layers of the ViT; none: another architecture's own")
    num_attention_heads: int | None = option(12, "attention heads of the ViT; none: another architecture's own")
    intermediate_size: int | None = option(None, "width of the ViT's MLPs (default: 4 x hidden_size)")

    def __post_init__(self) -> None:
        for name in (*SIZES, "intermediate_size"):
            value = getattr(self, name)
            require(value is None or value > 0, f"{name} must be above 0, got {value}")
        width, heads = self.hidden_size, self.num_attention_heads
        require(
            width is None or heads is None or width % heads == 0,
            f"hidden_size {width} must be a multiple of num_attention_heads {heads}",
        )

    @classmethod
    def tiny(cls) -> Self:
        return cls(patch_size=2, hidden_size=16, num_hidden_layers=2, num_attention_heads=2)

    def check(self, data: DataConfig) -> None:
        """Raise ConfigError where these sizes are no ViT for such images."""
        for name in SIZES:
            require(
                getattr(self, name) is not None,
                f"{name} must be a number, unless --model_config brings the architecture",
            )
        self._check_patches(data)

    def adopt(
        self, data: ImageDataConfig, model_config: "PretrainedConfig", given: frozenset[str]
    ) -> tuple[Self, ImageDataConfig]:
        """The sizes of any vision config, as far as it has them, and its image size unless that was given."""
        data = data.adopt_model(model_config, given, self.recipe)
        stored = model_config.to_dict()
        adopted = dataclasses.replace(
            self, **{name: one_number(stored.get(name)) for name in (*SIZES, "intermediate_size")}
        )
        adopted._check_patches(data)
        return adopted, data

    def _check_patches(self, data: DataConfig) -> None:
        assert isinstance(data, ImageDataConfig)
        size, patch = data.image_size, self.patch_size
        if patch is not None:
            nearest = max(1, round(size / patch)) * patch
            require(
                size % patch == 0,
                f"image_size {size} must be a multiple of patch_size {patch}; the nearest is {nearest}",
            )
