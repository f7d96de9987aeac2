"""The presets of a method or task side by side, as a table. No torch here."""

from dataclasses import dataclass

from hfssl.catalog import DATA_CONFIGS, config_of, method_names, task_config_of, task_names
from hfssl.config.fields import option
from hfssl.config.files import preset_values, section_types
from hfssl.config.flags import flags_of
from hfssl.config.help import shown_value
from hfssl.errors import require
from hfssl.run_dir import Json


@dataclass(frozen=True, kw_only=True)
class PresetsConfig:
    """What `hfssl presets` can be told."""

    recipe: str | None = option(None, "method or task")

    def __post_init__(self) -> None:
        names = [*method_names(), *task_names()]
        require(self.recipe in names, f"name a method or a task: {', '.join(names)}; got {self.recipe or 'nothing'}")


def presets(config: PresetsConfig) -> dict[str, Json]:
    """Print every setting that a preset gives, a column per preset; returns {preset: {setting: value}}."""
    recipe = str(config.recipe)
    settings = config_of(recipe) if recipe in method_names() else task_config_of(recipe)
    data = DATA_CONFIGS[settings.modality]
    values = preset_values(settings, data)
    table = [["", *values]]
    for flag in flags_of(section_types(settings, data)):
        if any(flag.name in given for given in values.values()):
            table.append([flag.name, *[shown_value(given.get(flag.name, flag.default)) for given in values.values()]])
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    return values
