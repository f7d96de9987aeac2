"""What each figure of a run shows, in plain words, and the order of figures on a page: first what was learned, then curves."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class FigureKind(NamedTuple):
    """What a figure is.

    is_chart: lines and axes on a white ground, which dark mode inverts; is_public: it shows no row of the data, so that it
    may be published of local data too; is_learned: it shows what the model learned, not how training went.
    """

    caption: str
    is_chart: bool = False
    is_public: bool = False
    is_learned: bool = True


_KINDS = {
    "reconstruction": FigureKind("Top: originals. Middle: the patches that the model saw. Bottom: what it filled in."),
    "rotations": FigureKind("Each image in four orientations, with the rotation that the model predicts."),
    "puzzles": FigureKind("Top: originals. Middle: tiles as the model saw them. Bottom: as it put them back."),
    "contrast": FigureKind(
        "Recordings with hidden spans, shaded. Below: the prediction should be more similar to the true frame than to others.",
        is_chart=True,
    ),
    "label_study": FigureKind(
        "Test accuracy against the number of labels, fine-tuned and trained from scratch.",
        is_chart=True,
        is_public=True,
    ),
    "confusion": FigureKind(
        "Predictions for each true class. A perfect model fills only the diagonal.", is_chart=True, is_public=True
    ),
    "entities": FigureKind("F1, precision and recall of each entity type.", is_chart=True),
    "scatter": FigureKind(
        "Predicted numbers against true ones. A perfect model stays on the diagonal.", is_chart=True, is_public=True
    ),
    "neighbours": FigureKind("Framed: a query. To its right: the training images that the model finds most similar."),
    "mistakes": FigureKind("The wrong predictions of which the model was surest."),
    "loss": FigureKind(
        "Loss on training and validation rows, and the learning rate.", is_chart=True, is_public=True, is_learned=False
    ),
    "scores": FigureKind("Scores of the validation rows.", is_chart=True, is_public=True, is_learned=False),
    "watch": FigureKind(
        "Features of validation rows: kNN accuracy, effective dimensions (RankMe), spread (std).",
        is_chart=True,
        is_public=True,
        is_learned=False,
    ),
    "calibration": FigureKind(
        "Accuracy against predicted probability. A calibrated model follows the diagonal.",
        is_chart=True,
        is_public=True,
        is_learned=False,
    ),
}
_PLACES = {stem: place for place, stem in enumerate(_KINDS)}


def figure_kind(figure: Path) -> FigureKind:
    """The kind of a PNG file of figures/ or eval/; one that a method adds is called by its name."""
    name = figure.stem.replace("_", " ")
    if figure.parent.name == "eval":
        return FigureKind(f"Test accuracy against the number of labels: {name}.", is_chart=True, is_learned=False)
    return _KINDS.get(figure.stem, FigureKind(f"{name[:1].upper()}{name[1:]}."))


def in_order(figures: Iterable[Path]) -> list[Path]:
    """What was learned comes first: pictures that a method adds, then those named above in their order; eval/ comes last."""

    def place(figure: Path) -> tuple[bool, int, str]:
        return figure.parent.name == "eval", _PLACES.get(figure.stem, -1), figure.stem

    return sorted(figures, key=place)
