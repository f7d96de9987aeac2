"""What `hfssl embed` can be told."""

from dataclasses import dataclass
from pathlib import Path

from hfssl.config.fields import option
from hfssl.data.images.config import ImageDataConfig
from hfssl.errors import require


@dataclass(frozen=True, kw_only=True)
class EmbedConfig:
    model: str | None = option(None, "run folder, export, or Hub id of any image checkpoint of transformers")
    dataset: str | None = option(None, "images: Hub id, folder, Parquet file, save_to_disk folder or demo:NAME")
    dataset_config: str | None = option(None, "configuration name of a Hub data set")
    split: str = option("train", "split whose images are embedded")
    image_column: str | None = option(None, "column of the images (default: the only one of that type)")
    label_column: str | None = option(None, "column of the labels (default: the only one of that type)")
    output: str = option("features.parquet", "Parquet file to write; a sheet of images goes next to it as PNG")
    neighbours: int | None = option(None, "add this many nearest rows of each row, with their cosines")
    outliers: int | None = option(
        None, "add a score of strangeness, and print and draw this many of the strangest rows"
    )
    query: str | None = option(None, "image file or folder: print and draw the rows that look most like it")
    batch_size: int = option(256, "images that go through the encoder together")
    cpu_threads: int | None = option(None, "threads (default: all cores)")

    def __post_init__(self) -> None:
        require(self.model is not None, "name the checkpoint with --model")
        require(self.dataset is not None, "name the images with --dataset")
        for name in ("neighbours", "outliers", "batch_size", "cpu_threads"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"{name} must be at least 1, got {value}")
        output = Path(self.output)
        require(
            not output.is_dir(), f"--output {output} is a folder: name a file in it, like {output}/features.parquet"
        )
        require(output.suffix == ".parquet", f"--output must end in .parquet, got {output}")
        above = next((folder for folder in output.parents if folder.exists()), None)
        require(above is None or above.is_dir(), f"--output {output} cannot be made: {above} is a file")
        if self.query is not None:
            require(Path(self.query).expanduser().exists(), f"--query {self.query} does not exist")
        self.image_data(num_channels=3).check()

    def image_data(self, num_channels: int) -> ImageDataConfig:
        """Where the images come from, as pretraining is told."""
        return ImageDataConfig(
            dataset=self.dataset,
            dataset_config=self.dataset_config,
            split=self.split,
            validation_share=0.0,
            image_column=self.image_column,
            label_column=self.label_column,
            num_channels=num_channels,
        )
