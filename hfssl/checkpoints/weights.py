"""Weights of a checkpoint, taken into a model: read by a stock class, matched by name, checked by shape, reported."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hfssl.checkpoints.locate import loading
from hfssl.errors import require
from hfssl.objective import LoadReport
from hfssl.run_dir import JsonView


class StoredWeights(NamedTuple):
    """said: the flag and its value, with which errors start.
    tensors: by the names of the class that read them, only those that the files hold.
    unexpected: names in the files that this class does not have.
    """

    said: str
    tensors: dict[str, Tensor]
    unexpected: frozenset[str]

    def renamed(self, rename: Callable[[str], str]) -> "StoredWeights":
        """The same tensors under other names."""
        return self._replace(tensors={rename(name): tensor for name, tensor in self.tensors.items()})

    def without(self, names: set[str]) -> "StoredWeights":
        """All tensors but these, which count as neither stored nor unused."""
        kept = {name: tensor for name, tensor in self.tensors.items() if name not in names}
        return self._replace(tensors=kept, unexpected=self.unexpected - names)


def read_weights(said: str, auto_class: Any, checkpoint: str, **options: Any) -> StoredWeights:
    """What `auto_class.from_pretrained` finds in a checkpoint; tensors that it only initialised are left out.

    Raises:
        ConfigError: the checkpoint cannot be loaded.
    """
    with loading(said):
        model, info = auto_class.from_pretrained(checkpoint, output_loading_info=True, **options)
    return stored_weights(said, model, info)


def stored_weights(said: str, model: Any, info: JsonView) -> StoredWeights:
    """The same of a model that is loaded already, with its loading info."""
    tensors = {name: tensor for name, tensor in model.state_dict().items() if name not in info["missing_keys"]}
    return StoredWeights(said, tensors, frozenset(info["unexpected_keys"]))


def _same_name(name: str) -> str | None:
    return name


def _as_stored(name: str, stored: Tensor, own: Tensor) -> Tensor:
    return stored


@torch.no_grad()
def take_weights(
    own: Mapping[str, Tensor],
    stored: StoredWeights,
    *,
    source_of: Callable[[str], str | None] = _same_name,
    fitted: Callable[[str, Tensor, Tensor], Tensor] = _as_stored,
) -> LoadReport:
    """Copy into `own`, the tensors of a model by name, whatever `stored` has for them.

    Args:
        source_of: the stored name for an own one; None keeps the own tensor.
        fitted: (stored name, stored tensor, own tensor) -> the stored tensor brought to the own size, where that has a meaning.

    Raises:
        ConfigError: a stored tensor has another shape than the own one.
    """
    loaded, used = [], set()
    for name in sorted(own):
        source = source_of(name)
        if source is None or source not in stored.tensors:
            continue
        tensor = fitted(source, stored.tensors[source], own[name])
        shapes = f"{tuple(stored.tensors[source].shape)} in the checkpoint, {tuple(own[name].shape)} here"
        require(tensor.shape == own[name].shape, f"{stored.said}: {source} does not fit: {shapes}")
        own[name].copy_(tensor)
        loaded.append(name)
        used.add(source)
    unused = (stored.tensors.keys() | stored.unexpected) - used
    return LoadReport(loaded, sorted(own.keys() - set(loaded)), sorted(unused))
