"""What `hfssl evaluate` can be told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hfssl.config.fields import option
from hfssl.data.audio import config as audio_config
from hfssl.data.audio.config import AudioDataConfig
from hfssl.data.images import config as image_config
from hfssl.data.images.config import ImageDataConfig
from hfssl.data.location_check import TABLE_SUFFIXES, check_location
from hfssl.data.texts import config as text_config
from hfssl.data.texts.config import TextDataConfig
from hfssl.errors import require

Data = TypeVar("Data", bound=ImageDataConfig | TextDataConfig | AudioDataConfig)


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    model: str | None = option(
        None, "run folder, export, or Hub id of any image, text or speech checkpoint of transformers"
    )
    dataset: str | None = option(
        None, "labelled images, texts or recordings: Hub id, folder, table, save_to_disk folder or demo:NAME"
    )
    dataset_config: str | None = option(None, "configuration name of a Hub data set")
    split: str = option("train", "split whose labels train the probes")
    image_column: str | None = option(None, "column of the images (default: the only one of that type)")
    text_column: str | None = option(None, "column of the texts (default: the only one of that type)")
    audio_column: str | None = option(None, "column of the recordings (default: the only one of that type)")
    label_column: str | None = option(None, "column of the labels (default: the only one of that type)")
    group_column: str | None = option(
        None, "column of groups, a patient or a video, kept on one side of a split made here"
    )
    test_share: float = option(0.2, "share of the rows to score, where the data has no test or validation split")
    label_sizes: tuple[str, ...] = option(("1%", "5%", "10%", "100%"), "points of the label curve: 20 per class, or 5%")
    num_seeds: int = option(5, "draws of labelled rows for each point, and untrained models")
    perplexity_documents: int | None = option(
        None, "test documents whose perplexity a language model is asked for (default: 256; 0: none)"
    )
    batch_size: int = option(256, "samples that go through the encoder together")
    output_dir: str | None = option(None, "where to (default: eval/ of a run, else eval-<model>/)")
    cpu_threads: int | None = option(None, "threads (default: all cores)")

    def __post_init__(self) -> None:
        require(self.model is not None, "name the checkpoint with --model")
        require(self.dataset is not None, "name the labelled data with --dataset")
        assert self.dataset is not None
        require(0 < self.test_share < 1, f"test_share must be in (0, 1), got {self.test_share:g}")
        require(self.num_seeds >= 2, f"num_seeds must be at least 2 for an interval, got {self.num_seeds}")
        require(self.batch_size >= 1, f"batch_size must be at least 1, got {self.batch_size}")
        documents = self.perplexity_documents
        require(documents is None or documents >= 0, f"perplexity_documents must be at least 0, got {documents}")
        usable = self.output_dir is None or not Path(self.output_dir).is_file()
        require(usable, f"--output_dir {self.output_dir} is a file: name a folder")
        check_location(
            self.dataset,
            demo_sets=image_config.DEMO_SETS + text_config.DEMO_SETS + audio_config.DEMO_SETS,
            samples="images, texts or recordings",
            suffixes=ImageDataConfig.suffixes | TextDataConfig.suffixes | AudioDataConfig.suffixes,
            one_file=TextDataConfig.suffixes | TABLE_SUFFIXES,
        )

    def image_data(self, num_channels: int) -> ImageDataConfig:
        """Where the images come from, as pretraining is told. Raises ConfigError where they cannot be there."""
        return self._data(ImageDataConfig, image_column=self.image_column, num_channels=num_channels)

    def text_data(self) -> TextDataConfig:
        """The same for texts."""
        return self._data(TextDataConfig, text_column=self.text_column)

    def audio_data(self) -> AudioDataConfig:
        """The same for recordings."""
        return self._data(AudioDataConfig, audio_column=self.audio_column)

    def _data(self, config: type[Data], **own: Any) -> Data:
        place: dict[str, Any] = {name: getattr(self, name) for name in ("dataset", "dataset_config", "split")}
        data = config(**place, label_column=self.label_column, validation_share=0.0, **own)
        data.check()
        return data
