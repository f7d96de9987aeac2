"""What the tasks on texts share: a stock model with a head, from a checkpoint, all of it trained, its adapters, or its head."""

import copy
import inspect
from collections.abc import Sequence
from typing import ClassVar, Generic, Literal, Self, TypeVar

from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.auto.auto_factory import _BaseAutoModelClass

from hfssl.data.source import Source
from hfssl.data.texts.config import TextDataConfig
from hfssl.data.texts.encodings import with_pad_token
from hfssl.data.texts.tokenizer import open_tokenizer
from hfssl.errors import require
from hfssl.models.layer_decay import decayed_groups
from hfssl.models.lora import Adapter, merged, with_adapter
from hfssl.models.text_head import body_of, freeze_body, fresh_model, head_config, head_names, load_into
from hfssl.objective import Batch, Export, LoadReport, ParamGroup, Pipeline
from hfssl.tasks.task import Task
from hfssl.tasks.text_settings import TextTaskConfig

_TYPES = "token_type_ids"


TextSettings = TypeVar("TextSettings", bound=TextTaskConfig)


class TextTask(Task[TextSettings, Pipeline], Generic[TextSettings, Pipeline]):
    modality: ClassVar[Literal["text", "image", "audio"]] = "text"

    def __init__(self, config: TextSettings, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
        super().__init__()
        self.config = config
        self.model = model
        self._tokenizer = tokenizer

    @property
    def batch_coupled(self) -> bool:
        return False

    def load_pretrained(self, checkpoint: str) -> LoadReport:
        return load_into(self.model, self.auto_class, checkpoint)

    def train(self, mode: bool = True) -> Self:
        """A frozen body stays in eval mode."""
        super().train(mode)
        if self.config.adaptation == "frozen":
            body_of(self.model).eval()
        return self

    def inputs(self, batch: Batch) -> Batch:
        """What the stock model takes of a batch."""
        names = ["input_ids", "attention_mask", *([_TYPES] if reads_types(self.model) and _TYPES in batch else [])]
        return {name: batch[name] for name in names}

    def export(self) -> Export:
        settings = self.config.lora_settings()
        model = Adapter(self.model) if settings.lora and not settings.merge else merged(self.model)
        tokenizer = copy.deepcopy(self._tokenizer)
        if not reads_types(self.model):
            tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name != _TYPES]
        return Export(model, tokenizer)

    def param_groups(self, weight_decay: float) -> list[ParamGroup]:
        return decayed_groups(self.model.named_parameters(), weight_decay=weight_decay, decay=self.config.rate_decay)


def reads_types(model: PreTrainedModel) -> bool:
    """Whether the model tells the texts of a pair apart by `token_type_ids`; GPT-2 would take them for tokens."""
    takes_them = _TYPES in inspect.signature(type(model).forward).parameters
    return takes_them and getattr(model.config, "type_vocab_size", 0) > 1


def task_tokenizer(config: TextTaskConfig, data: TextDataConfig, source: Source | None) -> PreTrainedTokenizerFast:
    """The checkpoint's own tokenizer unless another is named, able to pad, cutting where the task does."""
    require(
        config.model is not None or data.tokenizer is not None or data.train_tokenizer is not None,
        "a model from scratch needs a tokenizer: set --tokenizer or --train_tokenizer",
    )
    tokenizer = with_pad_token(open_tokenizer(data, source, config.further_texts))
    tokenizer.model_max_length = data.max_length
    return tokenizer


def with_head(
    auto_class: type[_BaseAutoModelClass],
    config: TextTaskConfig,
    tokenizer: PreTrainedTokenizerFast,
    model_config: PretrainedConfig | None,
    names: Sequence[str] | None,
) -> PreTrainedModel:
    """The stock model of `config`, with adapters or a frozen body if asked for; random weights.

    Args:
        names: classes of the head; None for one number.
    """
    assert model_config is not None, "of --model or --model_config"
    own = head_config(model_config, tokenizer, names)
    if config.model is None:
        own.vocab_size = len(tokenizer)
    num_rows = own.get_text_config().vocab_size
    require(
        len(tokenizer) <= num_rows,
        f"the tokenizer has {len(tokenizer)} tokens, more than the {num_rows} rows of --model {config.model}: "
        "leave --tokenizer out",
    )
    model = fresh_model(auto_class, own)
    if config.adaptation == "frozen":
        freeze_body(model)
    if config.adaptation == "lora":
        has_pad = model_config.get_text_config().pad_token_id is not None
        require(
            has_pad or config.merge,
            f"--model {config.model} names no padding token, which its adapter could not add to it: add --merge",
        )
        model.name_or_path = config.model  # what the adapter records as its base
        with_adapter(model, config.lora_settings(), modules_to_save=head_names(model))
    return model
