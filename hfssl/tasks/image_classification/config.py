"""Fine-tuning an image encoder to tell classes of images apart."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from hfssl.config.fields import option
from hfssl.config.sections import DataConfig
from hfssl.data.images.augmentation_config import AugmentationName, View
from hfssl.data.images.config import ImageDataConfig
from hfssl.data.images.views_config import AugmentationFlags
from hfssl.errors import require
from hfssl.tasks.columns import Columns
from hfssl.tasks.task_config import TaskConfig

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@dataclass(frozen=True, kw_only=True)
class ImageClassificationConfig(AugmentationFlags, TaskConfig):
    recipe: ClassVar[str] = "image_classification"
    demo: ClassVar[str | None] = "demo:digits"
    takes_class_folders: ClassVar[bool] = True
    modality: ClassVar[Literal["text", "image", "audio"]] = "image"
    loss_unit: ClassVar[str] = "nats per image"
    num_global_crops: ClassVar[int] = 1

    augmentation: AugmentationName = option(  # noqa: RUF009
        "plain", "what is done to a training image (docs/guides/augmentation.md)"
    )
    drop_path: float | None = option(None, "share of dropped layers of the last one, falling to 0 at the first")
    mixup: float = option(0.0, "alpha of the Beta distribution by which images are blended in pairs; 0: none")
    cutmix: float = option(0.0, "the same for a box that is put in from another image; 0: none")

    @classmethod
    def fits(cls, columns: Columns) -> bool:
        return columns.holds == "images" and columns.has_classes

    def __post_init__(self) -> None:
        TaskConfig.__post_init__(self)
        for name in ("mixup", "cutmix"):
            require(getattr(self, name) >= 0, f"{name} must be at least 0, got {getattr(self, name):g}")
        require(self.drop_path is None or 0 <= self.drop_path < 1, f"drop_path must be in [0, 1), got {self.drop_path}")
        self.check_effects([view.augmentation for view in self.views(1)["global_crops"]])

    def without_effect(self) -> dict[str, str]:
        flags = super().without_effect()
        if self.adaptation == "frozen":
            augmented = [*self.overrides(), "augmentation", "mixup", "cutmix", "drop_path"]
            flags |= dict.fromkeys(
                augmented, "with --adaptation frozen, whose features are computed once: leave it out"
            )
        return flags

    def views(self, image_size: int) -> dict[str, list[View]]:
        """The one view of a training image, as `ViewsPipeline` takes it."""
        return {"global_crops": [View(image_size, own) for own in self.global_augmentations(self.augmentation)]}

    def check(self, data: DataConfig) -> None:
        assert isinstance(data, ImageDataConfig)
        for view in self.views(data.image_size)["global_crops"]:
            view.augmentation.check(data.num_channels, view.size)

    def adopt(
        self, data: ImageDataConfig, model_config: "PretrainedConfig", given: frozenset[str]
    ) -> tuple[Self, ImageDataConfig]:
        """Image size and channels of any vision config, unless they were given."""
        adopted = data.adopt_model(model_config, given, self.recipe)
        self.check(adopted)
        return self, adopted

    @classmethod
    def tiny(cls) -> Self:
        return cls(augmentation="digits")
