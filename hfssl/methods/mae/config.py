"""Masked autoencoder pretraining (He et al. 2022): hide most patches of an image, reconstruct them from the rest."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from hfssl.config.fields import option
from hfssl.config.sections import DataConfig, MethodConfig
from hfssl.data.images.config import ImageDataConfig
from hfssl.errors import require

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_ENCODER_FIELDS = ("patch_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
_DECODER_FIELDS = (
    "decoder_hidden_size",
    "decoder_num_hidden_layers",
    "decoder_num_attention_heads",
    "decoder_intermediate_size",
)


@dataclass(frozen=True, kw_only=True)
class MAEConfig(MethodConfig):
    recipe: ClassVar[str] = "mae"
    pipeline_tag: ClassVar[str] = "image-feature-extraction"
    reference_batch: ClassVar[int | None] = 256
    modality: ClassVar[Literal["text", "image", "audio"]] = "image"
    loss_unit: ClassVar[str] = "squared error per hidden pixel"
    architecture_fields: ClassVar[frozenset[str]] = frozenset(_ENCODER_FIELDS)

    patch_size: int = option(16, "side of a patch in pixels", basic=True)
    hidden_size: int = option(768, "width of the encoder")
    num_hidden_layers: int = option(12, "layers of the encoder")
    num_attention_heads: int = option(12, "attention heads of the encoder")
    intermediate_size: int | None = option(None, "width of the encoder's MLPs (default: 4 x hidden_size)")
    decoder_hidden_size: int = option(512, "width of the decoder")
    decoder_num_hidden_layers: int = option(8, "layers of the decoder")
    decoder_num_attention_heads: int = option(16, "attention heads of the decoder")
    decoder_intermediate_size: int | None = option(None, "width of the decoder's MLPs (default: 4 x its width)")
    mask_ratio: float = option(0.75, "share of the patches that is hidden", basic=True)
    norm_pix_loss: bool = option(False, "reconstruct pixels normalised within their patch")
    crop_scale: tuple[float, float] = option((0.2, 1.0), "smallest and largest share of the area that a crop takes")
    horizontal_flip: bool = option(True, "mirror half of the images")

    def __post_init__(self) -> None:
        if self.mask_ratio >= 1 and self.mask_ratio < 100:
            hint = f"; for {self.mask_ratio:g} % write {self.mask_ratio / 100:g}"
        else:
            hint = ""
        require(0 < self.mask_ratio < 1, f"mask_ratio must be in (0, 1), got {self.mask_ratio:g}{hint}")
        low, high = self.crop_scale
        require(0 < low <= high <= 1, f"crop_scale must be two rising numbers in (0, 1], got {low:g} {high:g}")
        for name in ("patch_size", "num_hidden_layers", "decoder_num_hidden_layers"):
            require(getattr(self, name) > 0, f"{name} must be above 0, got {getattr(self, name)}")
        for prefix in ("", "decoder_"):
            width, heads = getattr(self, f"{prefix}hidden_size"), getattr(self, f"{prefix}num_attention_heads")
            require(
                width > 0 and width % 4 == 0,
                f"{prefix}hidden_size must be a multiple of 4 (sine-cosine positions), got {width}",
            )
            require(
                heads > 0 and width % heads == 0,
                f"{prefix}hidden_size {width} must be a multiple of {prefix}num_attention_heads {heads}",
            )

    @classmethod
    def tiny(cls) -> Self:
        return cls(
            patch_size=2,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            decoder_hidden_size=12,
            decoder_num_hidden_layers=1,
            decoder_num_attention_heads=2,
        )

    def check(self, data: DataConfig) -> None:
        assert isinstance(data, ImageDataConfig)
        size, patch = data.image_size, self.patch_size
        nearest = max(1, round(size / patch)) * patch
        require(
            size % patch == 0, f"image_size {size} must be a multiple of patch_size {patch}; the nearest is {nearest}"
        )
        num_patches = (size // patch) ** 2
        require(
            0 < int(num_patches * (1 - self.mask_ratio)) < num_patches,
            f"mask_ratio {self.mask_ratio:g} of {num_patches} patches (image_size {size}, patch_size {patch}) "
            "must leave at least one seen and one hidden",
        )

    def adopt(
        self, data: ImageDataConfig, model_config: "PretrainedConfig", given: frozenset[str]
    ) -> tuple["MAEConfig", ImageDataConfig]:
        """The sizes of a ViTMAE or ViT config, and its image size unless that was given."""
        allowed = ("vit_mae", "vit")
        require(
            model_config.model_type in allowed,
            f"mae builds on a ViTMAE or ViT config, got one of type {model_config.model_type}",
        )
        names = _ENCODER_FIELDS + (_DECODER_FIELDS if model_config.model_type == "vit_mae" else ())
        values: dict[str, Any] = {
            name: _one_number(name, getattr(model_config, name)) for name in names if name not in given
        }
        adopted = dataclasses.replace(self, **values)
        if "image_size" not in given:
            data = dataclasses.replace(data, image_size=_one_number("image_size", model_config.image_size))
        require(
            "num_channels" not in given or data.num_channels == model_config.num_channels,
            f"num_channels {data.num_channels} does not fit the checkpoint's {model_config.num_channels}",
        )
        data = dataclasses.replace(data, num_channels=model_config.num_channels)
        adopted.check(data)
        return adopted, data


def _one_number(name: str, value: Any) -> int:
    """A size as one number, where a config holds it as an equal pair."""
    sides = set(value) if isinstance(value, (list, tuple)) else {value}
    require(len(sides) == 1, f"{name} of the checkpoint is {value}: only squares are supported")
    return int(sides.pop())
