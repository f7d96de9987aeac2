"""What `hfssl preview` can be told: the data, and the flags of a method that compares views."""

from dataclasses import dataclass
from pathlib import Path

from hfssl.config.fields import option
from hfssl.data.images.augmentation_config import AugmentationName, View
from hfssl.data.images.config import DEMO_SETS, ImageDataConfig
from hfssl.data.images.views_config import AugmentationFlags, LocalCropFlags
from hfssl.errors import require

_DEMO_SIZE, _SIZE = 32, 224


@dataclass(frozen=True, kw_only=True)
class PreviewConfig(LocalCropFlags, AugmentationFlags):
    dataset: str | None = option(None, "images, as for a recipe (default: demo:digits)", basic=True)
    dataset_config: str | None = option(None, "configuration name of a Hub data set")
    split: str = option("train", "split whose images are shown")
    image_column: str | None = option(None, "column of the images (default: the only one of that type)")
    image_size: int | None = option(
        None, f"side of a global crop in pixels (default: {_SIZE}; {_DEMO_SIZE} for digits)", basic=True
    )
    num_channels: int = option(3, "channels of what the model sees")
    augmentation: AugmentationName | None = option(  # noqa: RUF009
        None, "preset of what is done to a view (default: natural; digits for digits)"
    )
    num_images: int = option(6, "images, from all over the split", basic=True)
    epoch: int = option(0, "epoch of a run whose draws are shown")
    seed: int = option(0, "seed of the run")
    output: str = option("preview.png", "PNG file to write", basic=True)

    def __post_init__(self) -> None:
        for name in ("num_images", "num_channels", "image_size"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"{name} must be at least 1, got {value}")
        require(self.epoch >= 0, f"epoch must be at least 0, got {self.epoch}")
        output = Path(self.output)
        require(output.suffix == ".png", f"--output must end in .png, got {output}")
        require(not output.is_dir(), f"--output {output} is a folder: name a file in it, like {output}/preview.png")
        above = next((folder for folder in output.parents if folder.exists()), None)
        require(above is None or above.is_dir(), f"--output {output} cannot be made: {above} is a file")
        data = self.image_data()
        data.check()
        self.check_local_crops()
        self.check_local_size(data.image_size)
        views = [view for group in self.views().values() for view in group]
        self.check_effects([view.augmentation for view in views])
        for view in views:
            view.augmentation.check(self.num_channels, view.size)

    @property
    def preset(self) -> AugmentationName:
        return self.augmentation or ("digits" if self._is_demo else "natural")

    @property
    def _is_demo(self) -> bool:
        return self.dataset in (None, *(f"demo:{name}" for name in DEMO_SETS))

    def views(self) -> dict[str, list[View]]:
        """The views of an image by group, as a run with these flags would make them."""
        size = self.image_data().image_size
        groups = {"global_crops": [View(size, own) for own in self.global_augmentations(self.preset)]}
        local = self.local_views(self, self.preset)
        return groups | ({"local_crops": local} if local else {})

    def image_data(self) -> ImageDataConfig:
        """Where the images come from, as pretraining is told."""
        return ImageDataConfig(
            dataset=self.dataset or "demo:digits",
            dataset_config=self.dataset_config,
            split=self.split,
            validation_share=0.0,
            image_column=self.image_column,
            image_size=self.image_size or (_DEMO_SIZE if self._is_demo else _SIZE),
            num_channels=self.num_channels,
            cache="never",
        )
