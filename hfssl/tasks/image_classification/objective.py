"""Image classification: a stock classifier of transformers on a pretrained encoder, all of it trained, its adapters, or its head.

B images, C classes, W width of what the head reads.

The encoder is that of `--model`; a ViT that was pretrained with the mean over patches becomes a BEiT that pools so
(see models/image_classifier.py). With `layer_decay` d the learning rate of a layer is d times that of the one above it
(Clark et al. 2020, arXiv 2003.10555, appendix; Bao et al. 2021, arXiv 2106.08254). Mixup blends each image of a batch with
the one that stands opposite (Zhang et al. 2018, arXiv 1710.09412, equation 1), by a share drawn from the image's key.
"""

from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForImageClassification, PretrainedConfig, PreTrainedModel
from transformers.models.auto.auto_factory import _BaseAutoModelClass

from hfssl.data.head_inputs import HeadInputsPipeline, content_of
from hfssl.data.images.config import ImageDataConfig
from hfssl.data.images.labelled import Blend, LabelledImages
from hfssl.data.labels import balanced_weights, class_numbers
from hfssl.data.source import Source
from hfssl.errors import require
from hfssl.models.backbone import encoder_config
from hfssl.models.image_classifier import HeadInputs, body_of, classifier_config, fresh_classifier, head_name, load_body
from hfssl.models.layer_decay import decayed_groups
from hfssl.models.lora import Adapter, merged, with_adapter
from hfssl.nn.batch_norm import across_ranks
from hfssl.nn.precision import to_float32
from hfssl.objective import Array, Batch, Export, LoadReport, ParamGroup, Saves, StepOutput
from hfssl.tasks.image_classification.config import ImageClassificationConfig
from hfssl.tasks.task import Task


class ImageClassification(Task[ImageClassificationConfig, LabelledImages | HeadInputsPipeline[LabelledImages]]):
    class_weights_C: Tensor
    modality: ClassVar[Literal["text", "image", "audio"]] = "image"
    auto_class: ClassVar[type[_BaseAutoModelClass]] = AutoModelForImageClassification

    def __init__(
        self,
        config: ImageClassificationConfig,
        model: PreTrainedModel,
        processor: Saves,
        class_weights_C: Tensor,
        encoder_type: str,
    ) -> None:
        super().__init__()
        self.config = config
        self.model = model
        self.encoder_type = encoder_type
        self._processor = processor
        self.register_buffer("class_weights_C", class_weights_C)

    @property
    def batch_coupled(self) -> bool:
        norms = (module for module in self.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
        return any(norm.training for norm in norms)

    @classmethod
    def check_rows(cls, config: ImageClassificationConfig, source: Source) -> list[str]:
        class_numbers(source, config.class_names or ())
        return []

    @classmethod
    def data_pipeline(
        cls, config: ImageClassificationConfig, data: ImageDataConfig, source: Source | None
    ) -> LabelledImages | HeadInputsPipeline[LabelledImages]:
        assert config.class_names is not None, "found in the data before a run is opened"
        blend = Blend(config.mixup, config.cutmix)
        whole = LabelledImages(data, config.views(data.image_size), config.class_names, blend)
        return whole if config.adaptation != "frozen" or source is None else _of_frozen(config, whole)

    @classmethod
    def build(
        cls,
        config: ImageClassificationConfig,
        pipeline: LabelledImages | HeadInputsPipeline[LabelledImages],
        model_config: PretrainedConfig | None,
    ) -> Self:
        whole = pipeline.whole if isinstance(pipeline, HeadInputsPipeline) else pipeline
        assert model_config is not None, "of --model or --model_config"
        model = _fresh(config, whole, model_config)
        weights_C = torch.ones(len(whole.class_names))
        if config.class_weights == "balanced":
            weights_C = torch.from_numpy(balanced_weights(whole.counts_C)).float()
        return cls(config, model, whole.processor, weights_C, encoder_config(model_config).model_type)

    def load_pretrained(self, checkpoint: str) -> LoadReport:
        return load_body(self.model, checkpoint, self.encoder_type)

    def train(self, mode: bool = True) -> Self:
        """A frozen body stays in eval mode: no dropout, no new moments of its norms."""
        super().train(mode)
        if self.config.adaptation == "frozen":
            body_of(self.model).eval()
        return self

    def forward(self, batch: Batch, progress: float) -> StepOutput:
        """Cross-entropy; of blended images that of both labels, by their shares."""
        logits_BC, labels_B = self.logits(batch), batch["labels"]
        losses_B, weights_B = self._losses(logits_BC, labels_B)
        if "partner_labels" in batch:
            of_partners_B, partners_B = self._losses(logits_BC, batch["partner_labels"])
            shares_B = batch["shares"]
            losses_B = torch.lerp(of_partners_B, losses_B, shares_B)
            weights_B = torch.lerp(partners_B, weights_B, shares_B)
        right_B = logits_BC.detach().argmax(dim=1) == labels_B
        return StepOutput(losses_B.sum(), weights_B.sum(), {"accuracy": right_B.float().mean()})

    def _losses(self, logits_BC: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) losses by class weight, and the (B,) weights."""
        smoothing = self.config.label_smoothing
        weights_B = self.class_weights_C[labels_B]
        losses_B = cross_entropy(logits_BC, labels_B, label_smoothing=smoothing, reduction="none")
        return losses_B * weights_B, weights_B

    def logits(self, batch: Batch) -> Tensor:
        """(B, C) float32."""
        if "head_inputs" in batch:
            head = getattr(self.model, head_name(self.model))
            return to_float32(head(batch["head_inputs"]))
        return to_float32(self.model(pixel_values=batch["pixel_values"]).logits)

    def predictions(self, batch: Batch) -> list[tuple[Array, int]]:
        """(logits (C,) float32, number of the true class) of each image."""
        logits_BC = self.logits(batch).float().cpu().numpy()
        return list(zip(logits_BC, batch["labels"].tolist(), strict=True))

    def export(self) -> Export:
        settings = self.config.lora_settings()
        model = Adapter(self.model) if settings.lora and not settings.merge else merged(self.model)
        return Export(model, self._processor)

    def param_groups(self, weight_decay: float) -> list[ParamGroup]:
        return decayed_groups(self.model.named_parameters(), weight_decay=weight_decay, decay=self.config.rate_decay)


def _fresh(
    config: ImageClassificationConfig, pipeline: LabelledImages, model_config: PretrainedConfig
) -> PreTrainedModel:
    """The stock classifier, with adapters if asked for; random weights."""
    own = classifier_config(model_config, pipeline.class_names, config.drop_path)
    for name, value in (("image_size", pipeline.data.image_size), ("num_channels", pipeline.data.num_channels)):
        if name in own.to_dict():
            setattr(own, name, value)
    model = fresh_classifier(own, pipeline.data.image_size)
    across_ranks(model)
    if config.adaptation == "frozen":
        body_of(model).requires_grad_(False)
    if config.adaptation == "lora":
        is_other = own.model_type != encoder_config(model_config).model_type
        require(
            config.merge or not is_other,
            f"this encoder pools over patches, so it becomes a {own.model_type}, and an adapter of that would belong to no model "
            "that others load: add --merge",
        )
        model.name_or_path = config.model  # what the adapter records as its base
        with_adapter(model, config.lora_settings(), modules_to_save=[head_name(model)])
    return model


def _of_frozen(config: ImageClassificationConfig, whole: LabelledImages) -> HeadInputsPipeline[LabelledImages]:
    assert config.model is not None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model_config = AutoConfig.from_pretrained(config.model)
    model = _fresh(config, whole, model_config)
    load_body(model, config.model, encoder_config(model_config).model_type)
    encoder = HeadInputs(model).to(device).eval()

    @torch.inference_mode()
    def encode(batch: Batch) -> Tensor:
        inputs: Tensor = encoder(batch["pixel_values"])
        return inputs

    return HeadInputsPipeline(whole, encode, device, f"{content_of(body_of(model))} {whole.processor.to_json_string()}")
