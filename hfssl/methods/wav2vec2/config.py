"""wav2vec 2.0 (Baevski et al. 2020): hide spans of speech, tell the true quantised frame from others of the utterance."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from hfssl.config.fields import option
from hfssl.config.sections import DataConfig, MethodConfig
from hfssl.data.audio.config import AudioDataConfig
from hfssl.errors import require
from hfssl.nn.frames import num_frames

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
_CONVOLUTIONS = ("conv_dim", "conv_kernel", "conv_stride")


@dataclass(frozen=True, kw_only=True)
class Wav2Vec2PretrainingConfig(MethodConfig):
    recipe: ClassVar[str] = "wav2vec2"
    pipeline_tag: ClassVar[str] = "feature-extraction"
    modality: ClassVar[Literal["text", "image", "audio"]] = "audio"
    loss_unit: ClassVar[str] = "nats per masked frame"
    default_micro_batch: ClassVar[int | None] = 1
    architecture_fields: ClassVar[frozenset[str]] = frozenset(
        (*_SIZES, *_CONVOLUTIONS, "dropout", "feat_extract_norm", "num_codevectors", "codevector_size")
    )

    hidden_size: int = option(768, "width of the transformer", basic=True)
    num_hidden_layers: int = option(12, "layers of the transformer")
    num_attention_heads: int = option(12, "attention heads of the transformer")
    intermediate_size: int | None = option(None, "width of the MLPs (default: 4 x hidden_size)")
    dropout: float = option(0.1, "share of dropped units, everywhere where the architecture drops some")
    conv_dim: tuple[int, ...] = option((512,) * 7, "channels of each convolution")
    conv_kernel: tuple[int, ...] = option((10, 3, 3, 3, 3, 2, 2), "width of each convolution's kernel")
    conv_stride: tuple[int, ...] = option((5, 2, 2, 2, 2, 2, 2), "stride of each convolution")
    feat_extract_norm: Literal["group", "layer"] = option(
        "group",
        "norms of the convolutions: group (base), whose batches are cropped to one length, or layer, with a mask",
    )
    num_codevectors: int = option(320, "entries of each of the two codebooks")
    codevector_size: int = option(256, "width of an entry pair, and of the space in which frames are compared")
    mask_probability: float = option(
        0.65, "share of the frames that spans would hide if they did not overlap", basic=True
    )
    mask_length: int = option(10, "frames of a span")
    num_negatives: int = option(100, "distractors of a masked frame")
    contrastive_temperature: float = option(0.1, "of the cosines")
    diversity_weight: float = option(0.1, "weight of the codebooks' diversity")
    feature_penalty: float = option(10.0, "weight of the mean square of the convolutions' output")
    conv_gradient_scale: float = option(0.1, "factor on the gradient of the convolutions")
    initial_gumbel_temperature: float = option(2.0, "of the choice of codes, at the start")
    gumbel_temperature: float = option(0.5, "of the choice of codes, when it has fallen")
    gumbel_fraction: float = option(0.693, "share of the run in which that temperature falls, geometrically")

    def __post_init__(self) -> None:
        for name in (*_SIZES[:3], "num_codevectors", "mask_length", "num_negatives"):
            require(getattr(self, name) > 0, f"{name} must be above 0, got {getattr(self, name)}")
        width, heads = self.hidden_size, self.num_attention_heads
        require(width % heads == 0, f"hidden_size {width} must be a multiple of num_attention_heads {heads}")
        lengths = {len(self.conv_dim), len(self.conv_kernel), len(self.conv_stride)}
        require(len(lengths) == 1, "conv_dim, conv_kernel and conv_stride must have the same number of values")
        require(self.codevector_size % 2 == 0, f"codevector_size must be even, got {self.codevector_size}")
        require(0 < self.mask_probability < 1, f"mask_probability must be in (0, 1), got {self.mask_probability:g}")
        require(0 <= self.dropout < 1, f"dropout must be in [0, 1), got {self.dropout:g}")
        for name in ("contrastive_temperature", "initial_gumbel_temperature", "gumbel_temperature", "gumbel_fraction"):
            require(getattr(self, name) > 0, f"{name} must be above 0, got {getattr(self, name):g}")
        for name in ("diversity_weight", "feature_penalty", "conv_gradient_scale"):
            require(getattr(self, name) >= 0, f"{name} must be at least 0, got {getattr(self, name):g}")

    @classmethod
    def tiny(cls) -> Self:
        sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        sizes |= {"conv_dim": (8, 8, 8), "conv_kernel": (10, 8, 4), "conv_stride": (10, 8, 4), "dropout": 0.0}
        sizes |= {"num_codevectors": 8, "codevector_size": 8, "mask_length": 3, "num_negatives": 5}
        return cls(**sizes, feat_extract_norm="layer")

    def check(self, data: DataConfig) -> None:
        assert isinstance(data, AudioDataConfig)
        frames = num_frames(data.shortest_window, self.conv_kernel, self.conv_stride)
        seconds = f"{data.min_duration_seconds:g} s at {data.sampling_rate} Hz"
        require(
            frames > self.mask_length,
            f"a recording of min_duration_seconds {seconds} has {max(0, frames)} frames, which must be more than the "
            f"{self.mask_length} of a span: raise --min_duration_seconds or lower --mask_length",
        )

    def check_rows_at_once(self, per_device_batch_size: int) -> None:
        require(
            per_device_batch_size == 1 or self.feat_extract_norm == "layer",
            f"per_device_batch_size {per_device_batch_size} would crop rows of different lengths to the shortest, for "
            "convolutions with a group norm hear padding: leave it at 1, a row holds --batch_seconds of audio",
        )

    def adopt(
        self, data: AudioDataConfig, model_config: "PretrainedConfig", given: frozenset[str]
    ) -> tuple["Wav2Vec2PretrainingConfig", AudioDataConfig]:
        """Sizes, convolutions and codebooks of a wav2vec 2.0 config; its dropout stays its own."""
        kind = model_config.model_type
        require(kind == "wav2vec2", f"wav2vec2 builds on the config of a wav2vec2, got one of type {kind}")
        names: dict[str, str] = {name: name for name in (*_SIZES, "feat_extract_norm")}
        names |= {"num_codevectors": "num_codevectors_per_group", "codevector_size": "codevector_dim"}
        values: dict[str, Any] = {name: getattr(model_config, theirs) for name, theirs in names.items()}
        values |= {name: tuple(getattr(model_config, name)) for name in _CONVOLUTIONS}
        adopted = dataclasses.replace(self, **values)
        adopted.check(data)
        return adopted, data
