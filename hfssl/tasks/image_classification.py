"""Image classification: a stock classifier of transformers on a pretrained encoder, all of it trained, its adapters, or its head.

B images, C classes, W width of what the head reads.

The encoder is that of `--model`; a ViT that was pretrained with the mean over patches becomes a BEiT that pools so (see
nn/image_classifier.py). With `layer_decay` d the learning rate of a layer is d times that of the one above it (Clark et al. 2020,
arXiv 2003.10555, appendix; Bao et al. 2021, arXiv 2106.08254). Mixup blends each image of a batch with the one that stands
opposite (Zhang et al. 2018, arXiv 1710.09412, equation 1), by a share that is drawn from the image's key.
"""

import re
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hfssl.data.image_config import ImageDataConfig
from hfssl.data.labelled import LabelledImages
from hfssl.data.source import Source
from hfssl.nn.backbone import encoder_config
from hfssl.nn.batch_norm import across_ranks
from hfssl.nn.image_classifier import body_of, classifier_config, fresh_classifier, head_name, load_body
from hfssl.nn.lora import adapter_of, merged, with_adapter
from hfssl.nn.precision import wide
from hfssl.objective import Batch, Export, LoadReport, Objective, StepOutput, is_matrix
from hfssl.tasks.image_classification_config import ImageClassificationConfig

_LAYER = re.compile(r"\.(?:layer|layers|stages|blocks)\.(\d+)\.")


class ImageClassification(Objective):
    class_weights_C: Tensor
    encoder_type: str
    modality: ClassVar[Literal["text", "image", "audio"]] = "image"
    paper: ClassVar[str] = ""

    def __init__(self, config: ImageClassificationConfig, model: Any, processor: Any, class_weights: Tensor) -> None:
        super().__init__()
        self.config = config
        self.model = model
        self._processor = processor
        self.register_buffer("class_weights_C", class_weights)
        if config.adaptation == "frozen":
            body_of(model).requires_grad_(False)

    @property
    def batch_coupled(self) -> bool:
        norms = (module for module in self.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
        return any(norm.training for norm in norms)

    @classmethod
    def data_spec(cls, config: ImageClassificationConfig, data: ImageDataConfig, source: Source) -> LabelledImages:
        assert config.class_names is not None, "found in the data before a run is opened"
        return LabelledImages(data, config.views(data.image_size), config.class_names)

    @classmethod
    def build(cls, config: ImageClassificationConfig, spec: LabelledImages, model_config: Any) -> Self:
        fitted = classifier_config(model_config, spec.class_names, config.drop_path)
        for name, value in (("image_size", spec.data.image_size), ("num_channels", spec.data.num_channels)):
            if name in fitted.to_dict():
                setattr(fitted, name, value)
        model = fresh_classifier(fitted)
        across_ranks(model)
        if config.adaptation == "lora":
            with_adapter(model, config.lora_settings(), modules_to_save=[head_name(model)])
        objective = cls(config, model, spec.processor, torch.ones(len(spec.class_names)))
        objective.encoder_type = encoder_config(model_config).model_type
        return objective

    @torch.no_grad()
    def load_pretrained(self, checkpoint: str) -> LoadReport:
        return load_body(self.model, checkpoint, self.encoder_type)

    def train(self, mode: bool = True) -> Self:
        """A frozen body stays in eval mode: no dropout, no new moments of its norms."""
        super().train(mode)
        if self.config.adaptation == "frozen":
            body_of(self.model).eval()
        return self

    def forward(self, batch: Batch, progress: float) -> StepOutput:
        logits_BC = wide(self.model(pixel_values=batch["pixel_values"]).logits)
        labels_B = batch["labels"]
        loss_sum = cross_entropy(
            logits_BC,
            labels_B,
            weight=self.class_weights_C,
            label_smoothing=self.config.label_smoothing,
            reduction="sum",
        )
        right_B = logits_BC.detach().argmax(dim=1) == labels_B
        num_targets = self.class_weights_C[labels_B].sum()
        return StepOutput(loss_sum, num_targets, {"accuracy": right_B.float().mean()})

    def features(self, batch: Batch) -> Tensor:
        """Logits; (B, C)."""
        logits_BC: Tensor = self.model(pixel_values=batch["pixel_values"]).logits
        return logits_BC

    def export(self) -> Export:
        settings = self.config.lora_settings()
        model = adapter_of(self.model) if settings.lora and not settings.merge else merged(self.model)
        return Export(model, self._processor)

    def param_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """By depth, where layers learn at different rates; no decay on norms and biases."""
        trainable = [(name, tensor) for name, tensor in self.named_parameters() if tensor.requires_grad]
        depths = depths_of([name for name, _ in self.model.named_parameters()])
        top = max(depths.values())
        groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
        for name, parameter in trainable:
            key = depths[name.removeprefix("model.")], is_matrix(parameter)
            groups.setdefault(key, []).append(parameter)
        return [
            {
                "params": parameters,
                "weight_decay": weight_decay if decays else 0.0,
                "lr_scale": self.config.layer_decay ** (top - depth),
            }
            for (depth, decays), parameters in groups.items()
        ]

    def enable_gradient_checkpointing(self) -> None:
        self.model.gradient_checkpointing_enable()


def depths_of(names: list[str]) -> dict[str, int]:
    """Depth of each parameter of a classifier: 0 for embeddings, 1, 2, ... for layers (stages of a hierarchical model), the
    next for everything above them."""
    numbered = {name: int(found.group(1)) + 1 for name in names if (found := _LAYER.search(name))}
    top = max(numbered.values(), default=0) + 1
    last = max((names.index(name) for name in numbered), default=-1)
    return {name: numbered.get(name, 0 if names.index(name) < last else top) for name in names}
