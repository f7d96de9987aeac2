"""How well entities of each type are found, as a PNG file."""

from matplotlib import pyplot

from hfssl.figures.classification import short
from hfssl.figures.curves import write_figure
from hfssl.figures.palette import ACCENT, INK, plain
from hfssl.run_dir import JsonView, RunDir

MOST_TYPES = 30
_LONGEST_NAME = 22


def entity_figure(run_dir: RunDir, summary: JsonView) -> None:
    """figures/entities.png: F1 of each type that occurs, the commonest on top, with precision and recall as ticks."""
    types = [(kind, one) for kind, one in summary["per_type"].items() if one["support"]]
    types = sorted(types, key=lambda pair: -pair[1]["support"])[:MOST_TYPES]
    places = range(len(types))
    figure, axis = pyplot.subplots(figsize=(6, 1.4 + 0.35 * len(types)), layout="constrained")
    axis.barh(places, [one["f1"] or 0.0 for _, one in types], color=INK, label="F1")
    for marker, name in (("<", "precision"), (">", "recall")):
        axis.scatter([one[name] or 0.0 for _, one in types], places, marker=marker, color=ACCENT, s=24, label=name)
    names = [f"{short(kind, _LONGEST_NAME)} ({one['support']})" for kind, one in types]
    axis.set_yticks(places, names, fontsize=8, parse_math=False)
    axis.invert_yaxis()
    axis.set(xlim=(0, 1), xlabel="share; entities of each type in brackets")
    plain(axis)
    axis.grid(visible=False, axis="y")
    axis.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    write_figure(figure, run_dir.figures / "entities.png")
