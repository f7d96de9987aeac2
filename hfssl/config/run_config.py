"""A run by its settings: what is stored of it, which of them make it this run, and what a resume may change."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from hfssl.config.fields import to_plain
from hfssl.config.files import SECTION_NAMES
from hfssl.config.sections import DataConfig, LoopConfig, MethodConfig, OptimConfig
from hfssl.run_dir import LAYOUT, Json, JsonView

_LENGTH = ("max_steps", "num_epochs", "budget_hours")
_NAMED_BY_ROWS = ("class_names", "characters")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One complete, nameable run.

    architecture: the loaded transformers config of --model_config or --init_from as a dictionary, else None.
    given: the names that the user set.
    """

    recipe: str
    preset: str
    method: MethodConfig
    data: DataConfig
    optim: OptimConfig
    loop: LoopConfig
    architecture: Json | None = None
    given: frozenset[str] = field(default=frozenset(), compare=False)

    def stored(self) -> Json:
        """The whole run as plain values, as config.yaml holds it."""
        sections = {name: to_plain(getattr(self, name)) for name in SECTION_NAMES}
        further: Json = {"digest": self.digest(), "digest_of_any_length": self.digest(any_length=True)}
        further["local"] = self.local()
        further["without_effect"] = sorted(self.method.without_effect())
        if self.method.needs_labels:
            further["changed"] = self.changed()
        named = {"layout": LAYOUT, "recipe": self.recipe, "kind": self.method.kind, "modality": self.method.modality}
        named |= {"rows_are": self.rows_are, "preset": self.preset}
        return named | sections | further | {"model_config": self.architecture}

    @property
    def rows_are(self) -> str:
        """What the rows are that training counts: those of the data set, or what pretraining makes of them."""
        words: str = "rows" if self.method.needs_labels else self.data.rows_are
        return words

    def changed(self) -> list[str]:
        """The method's settings that are not their defaults, without what the data named: what a command has to say."""
        own = [
            item
            for item in dataclasses.fields(self.method)
            if item.name not in _NAMED_BY_ROWS or item.name in self.given
        ]
        return [item.name for item in own if getattr(self.method, item.name) != item.default]

    def local(self) -> list[str]:
        """Which of dataset, init_from and model_config are files here and no Hub ids: what is published does not name them."""
        loop = self.loop
        named = {"dataset": self.data.dataset, "init_from": loop.init_from, "model_config": loop.model_config}
        return [name for name, value in named.items() if value is not None and Path(value).expanduser().exists()]

    def identity(self) -> Json:
        """The settings that make a run this run: all but those that a resume may change."""
        identity: Json = {"recipe": self.recipe}
        for section in SECTION_NAMES:
            config = getattr(self, section)
            plain = to_plain(config)
            kept = [item.name for item in dataclasses.fields(config) if item.metadata["resume"] != "may_change"]
            identity[section] = {name: plain[name] for name in kept}
        if self.loop.budget_hours is not None:
            del identity["loop"]["max_steps"]  # follows from the budget, once
        return identity

    def digest(self, any_length: bool = False) -> str:
        """A short hash of `identity`, the same for runs of any length if told so."""
        identity = self.identity()
        if any_length:
            identity["loop"] = {key: value for key, value in identity["loop"].items() if key not in _LENGTH}
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]

    def fixed_differences(self, other: JsonView) -> list[str]:
        """`section.name: theirs -> ours` for every fixed setting in which a stored config differs from this one."""
        differences = []
        if self.architecture != other.get("model_config"):
            differences.append("the model that --model_config or --init_from names is another one")
        for section in SECTION_NAMES:
            config = getattr(self, section)
            plain, theirs = to_plain(config), other.get(section, {})
            fixed = [item.name for item in dataclasses.fields(config) if item.metadata["resume"] == "fixed"]
            differences += [
                f"{name}: {theirs.get(name)} -> {plain[name]}" for name in fixed if theirs.get(name) != plain[name]
            ]
        return differences
