"""Masked autoencoder: an encoder sees a quarter of the patches, a small decoder reconstructs the pixels of the rest.

He et al. 2022, "Masked autoencoders are scalable vision learners", arXiv 2111.06377. The loss is the mean squared error on
hidden patches only (section 3); the targets are pixels, or pixels normalised within each patch (`--norm_pix_loss`).

B images, N patches, D width.

The model is transformers' `ViTMAEForPreTraining`. Where we differ from it:
- initialisation as in the paper (section 3 and appendix A.1): sine-cosine positions, Xavier-uniform linear layers, tokens
  from N(0, 0.02). The stock class leaves positions and tokens at zero and draws every weight from N(0, 0.02).
- queries, keys and values are drawn as three square matrices, as in the published code of ViT. That of MAE draws one joint
  matrix of three times the outputs, whose Xavier bound is smaller by a factor of sqrt(2).
- masks come from the sample's key, not from a generator.
- the encoder is exported as a `ViTModel`, since `ViTMAEModel` hides patches at random even in eval mode.

    hfssl mae --dataset path/to/images
"""

import copy
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    PretrainedConfig,
    ViTConfig,
    ViTImageProcessor,
    ViTMAEConfig,
    ViTMAEForPreTraining,
    ViTModel,
)

from hfssl.checkpoints.locate import loading
from hfssl.checkpoints.weights import StoredWeights, read_weights, take_weights
from hfssl.data.images.config import ImageDataConfig
from hfssl.data.images.pipeline import ImagePipeline
from hfssl.data.source import Source
from hfssl.errors import ConfigError
from hfssl.methods.mae.config import MAEConfig
from hfssl.models.pooler import without_pooler
from hfssl.nn.positions import resize_positions, sincos_2d
from hfssl.nn.xavier import initialise_linear, initialise_patches
from hfssl.objective import Batch, Export, LoadReport, Objective, Picture, StepOutput
from hfssl.randomness import random_ranks

POOLING = "mean_patches"
_PICTURED_IMAGES = 8
_POSITIONS = {"vit.embeddings.position_embeddings", "decoder.decoder_pos_embed"}


@dataclass(frozen=True)
class MaskNoise:
    """Draws `noise` (B, N): the patches of small noise are seen. Ranks, so that no tie is left to the device's sort."""

    num_patches: int

    def __call__(self, keys_B: Tensor) -> dict[str, Tensor]:
        return {"noise": random_ranks(keys_B, "mask", self.num_patches).to(torch.float32)}


class MAE(Objective[MAEConfig, ImagePipeline]):
    modality: ClassVar[Literal["text", "image", "audio"]] = "image"

    def __init__(self, model: ViTMAEForPreTraining, processor: ViTImageProcessor) -> None:
        super().__init__()
        self.model = model
        self._processor = processor

    @property
    def batch_coupled(self) -> bool:
        return False

    @classmethod
    def data_pipeline(cls, config: MAEConfig, data: ImageDataConfig, source: Source | None) -> ImagePipeline:
        draw = MaskNoise((data.image_size // config.patch_size) ** 2)
        return ImagePipeline(data, crop_scale=config.crop_scale, horizontal_flip=config.horizontal_flip, draw=draw)

    @classmethod
    def build(cls, config: MAEConfig, pipeline: ImagePipeline, model_config: PretrainedConfig | None) -> Self:
        model = ViTMAEForPreTraining(_vit_mae_config(config, pipeline.data, model_config))
        initialise(model)
        return cls(model, pipeline.processor)

    def load_pretrained(self, checkpoint: str) -> LoadReport:
        return take_weights(self.model.state_dict(), _stored_weights(checkpoint), fitted=_with_own_grid)

    def forward(self, batch: Batch, progress: float) -> StepOutput:
        output = self.model(batch["pixel_values"], noise=batch["noise"])
        num_hidden = output.mask.sum()
        return StepOutput(
            output.loss * num_hidden, num_hidden, {"baseline_loss": self._trivial_loss(batch["pixel_values"])}
        )

    @torch.no_grad()
    def _trivial_loss(self, pixels: Tensor) -> Tensor:
        """The loss of predicting the mean: the variance of the targets; 0-d."""
        if not self.model.config.norm_pix_loss:
            return pixels.var(correction=0)
        size = self.model.decoder.decoder_pred.out_features
        return pixels.new_full((), (size - 1) / size)  # an unbiased variance of 1 in each patch

    def features(self, batch: Batch) -> Tensor:
        """Mean of the last hidden state over all patches, none of them hidden; (B, D)."""
        vit = self.model.vit
        embeddings = vit.embeddings
        positions = embeddings.position_embeddings
        patches = embeddings.patch_embeddings(batch["pixel_values"]) + positions[:, 1:]
        token = (embeddings.cls_token + positions[:, :1]).expand(len(patches), -1, -1)
        hidden = torch.cat([token, patches], dim=1)
        for layer in vit.layers:
            hidden = layer(hidden)
        pooled: Tensor = vit.layernorm(hidden)[:, 1:].mean(dim=1)
        return pooled

    def export(self) -> Export:
        config = self.model.config
        encoder_config = ViTConfig(
            **{name: value for name, value in config.to_dict().items() if name in _SHARED_FIELDS}
        )
        encoder_config.hfssl_pooling = POOLING
        encoder = ViTModel(encoder_config, **without_pooler(ViTModel))
        encoder.load_state_dict(self.model.vit.state_dict())  # strict: the names are those of ViTMAEModel
        whole = copy.deepcopy(self.model).eval()
        whole.config.hfssl_pooling = POOLING
        return Export(encoder.eval(), self._processor, pretraining_model=whole)

    def enable_gradient_checkpointing(self) -> None:
        self.model.gradient_checkpointing_enable()

    @torch.no_grad()
    def illustrate(self, batch: Batch) -> list[Picture]:
        """Original, what the encoder saw (hidden patches grey), and the seen patches with the hidden ones filled in."""
        images = batch["pixel_values"][:_PICTURED_IMAGES]
        output = self.model(images, noise=batch["noise"][:_PICTURED_IMAGES])
        patches = self.model.patchify(images)
        predicted = output.logits.float()
        if self.model.config.norm_pix_loss:
            predicted = predicted * (patches.var(dim=2, keepdim=True) + 1e-6).sqrt() + patches.mean(dim=2, keepdim=True)
        hidden = output.mask[:, :, None]
        filled = self.model.unpatchify(torch.where(hidden > 0, predicted, patches))
        mean, std = (torch.tensor(part).view(-1, 1, 1).to(images) for part in self._statistics())
        originals, filled = ((pixels * std + mean).clamp(0, 1) for pixels in (images, filled))
        shown = self.model.unpatchify((1 - hidden).expand_as(patches))
        cells = torch.stack([originals, originals * shown + 0.5 * (1 - shown), filled])
        return [Picture("reconstruction", ["original", "seen", "reconstructed"], cells.cpu())]

    def _statistics(self) -> tuple[list[float], list[float]]:
        return self._processor.image_mean, self._processor.image_std


_SHARED_FIELDS = {
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act"),
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range", "layer_norm_eps"),
    *("image_size", "patch_size", "num_channels", "qkv_bias"),
}


def _vit_mae_config(config: MAEConfig, data: ImageDataConfig, model_config: PretrainedConfig | None) -> ViTMAEConfig:
    inherited = {} if model_config is None else model_config.to_dict()
    sizes = {
        "patch_size": config.patch_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "intermediate_size": config.intermediate_size or 4 * config.hidden_size,
        "decoder_hidden_size": config.decoder_hidden_size,
        "decoder_num_hidden_layers": config.decoder_num_hidden_layers,
        "decoder_num_attention_heads": config.decoder_num_attention_heads,
        "decoder_intermediate_size": config.decoder_intermediate_size or 4 * config.decoder_hidden_size,
    }
    kept = {name: value for name, value in inherited.items() if name in _SHARED_FIELDS}
    return ViTMAEConfig(
        **kept
        | sizes
        | {
            "image_size": data.image_size,
            "num_channels": data.num_channels,
            "mask_ratio": config.mask_ratio,
            "norm_pix_loss": config.norm_pix_loss,
        }
    )


@torch.no_grad()
def initialise(model: ViTMAEForPreTraining) -> None:
    """The paper's initialisation (appendix A.1 and its published code) in place of the stock one, but for attention."""
    initialise_linear(model)
    embeddings = model.vit.embeddings
    initialise_patches(embeddings.patch_embeddings.projection)
    nn.init.normal_(embeddings.cls_token, std=0.02)
    nn.init.normal_(model.decoder.mask_token, std=0.02)
    for positions in (embeddings.position_embeddings, model.decoder.decoder_pos_embed):
        grid = round((positions.shape[1] - 1) ** 0.5)
        positions.copy_(sincos_2d(positions.shape[2], grid))


def _stored_weights(checkpoint: str) -> StoredWeights:
    """Those of a ViTMAE or a ViT, by the names in a ViTMAEForPreTraining."""
    said = f"--init_from {checkpoint}"
    with loading(said):
        model_type = AutoConfig.from_pretrained(checkpoint).model_type
    if model_type == "vit_mae":
        return read_weights(said, ViTMAEForPreTraining, checkpoint)
    if model_type == "vit":
        return read_weights(said, ViTModel, checkpoint, **without_pooler(ViTModel)).renamed("vit.{}".format)
    raise ConfigError(f"{said} is a {model_type}; mae starts from vit_mae or vit")


def _with_own_grid(name: str, stored: Tensor, own: Tensor) -> Tensor:
    """Positions brought to the own grid; everything else as it is."""
    is_other = name in _POSITIONS and stored.shape[1] != own.shape[1]
    return resize_positions(stored, round((own.shape[1] - 1) ** 0.5)) if is_other else stored
