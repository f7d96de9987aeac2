"""What every task on texts can be told: its columns, and how long a text may be."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from hfssl.data.texts.config import TextDataConfig
from hfssl.errors import require
from hfssl.models.text_length import LONGEST, positions_of, tokenizer_limit
from hfssl.tasks.task_config import TaskConfig

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@dataclass(frozen=True, kw_only=True)
class TextTaskConfig(TaskConfig):
    """Base of the tasks on texts: the checkpoint brings tokenizer and longest text, where they are not given."""

    modality: ClassVar[Literal["text", "image", "audio"]] = "text"

    def without_effect(self) -> dict[str, str]:
        flags = super().without_effect() | {"no_packing": "on a task, where each text is a row"}
        if self.model is not None:
            trained = "with --model, which brings its tokenizer"
            flags |= dict.fromkeys(("train_tokenizer", "vocab_size", "lowercase"), trained)
        return flags

    def adopt(
        self, data: TextDataConfig, model_config: "PretrainedConfig", given: frozenset[str]
    ) -> tuple[Self, TextDataConfig]:
        """As many tokens as the model has positions and its tokenizer allows, unless told."""
        room = positions_of(model_config)
        if "max_length" in given:
            require(
                room is None or data.max_length <= room,
                f"max_length {data.max_length} is more than the {room} positions of this model: set --max_length {room}",
            )
            return self, data
        limits = [limit for limit in (room, self._tokenizer_limit(data)) if limit is not None]
        return self, dataclasses.replace(data, max_length=min(limits, default=LONGEST))

    @property
    def further_texts(self) -> tuple[str, ...]:
        """Columns of texts that are read with those of the data's own column."""
        return ()

    def _tokenizer_limit(self, data: TextDataConfig) -> int | None:
        """Where a plain call with `truncation=True` cuts."""
        place = data.tokenizer or self.model
        if place is None:
            return None
        from hfssl.data.texts.tokenizer import open_tokenizer  # heavy, and asked for where a model is opened anyway

        tokenizer = open_tokenizer(dataclasses.replace(data, tokenizer=place, train_tokenizer=None), None)
        return tokenizer_limit(tokenizer)
