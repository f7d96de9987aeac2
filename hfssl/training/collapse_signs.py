"""Signs of collapse: what is looked at, from where on it is one, and what it probably means.

A sign of a cause says by itself what is wrong; signs of effects are then left unsaid, for they follow from it. Where effects
alone are seen the first of them speaks, with the cause that the objective or this table names. Thresholds were fixed on
demo:digits; what they do on other data stands in benchmarks/results/collapse.json.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

from hfssl.nn.collapse import LEAST_RANK, LEAST_STD
from hfssl.objective import Diagnosis, Objective
from hfssl.run_dir import JsonView

Figures = JsonView
Figure = Callable[[Figures, Figures], float | None]
Kind = Literal["training", "validation"]


class Sign(NamedTuple):
    """One condition.

    name: as in `Objective.causes`.
    figure: of (this row, the first row); None where they cannot say.
    says: the condition in words, with `{figure}`; cause: what it means where the objective knows nothing better.
    below, above: the sign is there where the figure is less than the one or more than the other.
    kind: the rows of metrics.jsonl on which it is looked for.
    rows: rows in a row that must show it; patience: the share of the run over which they must reach.
    lasts: what it did stays done, so that a later row without it ends nothing.
    """

    name: str
    figure: Figure
    says: str
    cause: Diagnosis
    below: float = -math.inf
    above: float = math.inf
    kind: Kind = "training"
    rows: int = 2
    patience: float = 0.0
    lasts: bool = False

    @property
    def threshold(self) -> float:
        return self.below if self.below > -math.inf else self.above


def _plain(name: str) -> Figure:
    return lambda figures, first: figures.get(name)


def _growth(name: str) -> Figure:
    """The figure over its first value."""

    def growth(figures: Figures, first: Figures) -> float | None:
        now, before = figures.get(name), first.get(name)
        return None if now is None or not before else now / before

    return growth


def _moved(name: str) -> Figure:
    """1 where a mark differs from its first value, 0 where it is the same."""

    def moved(figures: Figures, first: Figures) -> float | None:
        now, before = figures.get(name), first.get(name)
        return None if now is None or before is None else float(now != before)

    return moved


def _once_weights_moved(figure: Figure) -> Figure:
    """`figure` where the weights have left their start; before that nothing can be told from what stands still."""
    return lambda figures, first: figure(figures, first) if _moved("weight_mark")(figures, first) else None


def _distance_of_own_tensors(figures: Figures, first: Figures) -> float | None:
    """The teacher's distance from the student; 0 at once where they share a tensor."""
    if figures.get("teacher_shared"):
        return 0.0
    return _once_weights_moved(_plain("teacher_distance"))(figures, first)


def _spread_from_the_start(figures: Figures, first: Figures) -> float | None:
    """The larger std of the features, of the first look and of this one."""
    now, before = figures.get("validation/std"), first.get("validation/std")
    return None if now is None or before is None else max(now, before)


def _not_finite(figures: Figures, first: Figures) -> float | None:
    return float(figures["validation/std"] is None) if "validation/std" in figures else None


def _over_trivial(figures: Figures, first: Figures) -> float | None:
    """How far the loss is from the loss before anything is learned, as a share of it."""
    loss, trivial = figures.get("loss"), figures.get("baseline_loss")
    return None if loss is None or not trivial else abs(loss / trivial - 1.0)


def _move_a_step(figures: Figures, first: Figures) -> float | None:
    """The length of a step relative to the first weights, were the weights a random walk of such steps, over the largest that
    is healthy; 0 while they have hardly grown. Unlike the growth itself it is as small in a long run as in a short one."""
    growth, step = _growth("weight_norm")(figures, first), figures.get("step")
    if growth is None or not step:
        return None
    move = math.sqrt((growth * growth - 1.0) / step) if growth > _HARDLY_GROWN else 0.0
    return move / figures.get("max_healthy_update", Objective.max_healthy_update)


def _spread_where_views_agree(figures: Figures, first: Figures) -> float | None:
    """The std of the projections, taken for 1 while the loss is above a share of the loss before anything is learned."""
    loss, trivial = figures.get("loss"), figures.get("baseline_loss")
    if loss is None or not trivial or figures.get("embedding_std") is None:
        return None
    return figures["embedding_std"] if loss < _AGREEMENT * trivial else 1.0


def _accuracy_as_targets_shrink(figures: Figures, first: Figures) -> float | None:
    """The accuracy, taken for 0 while the targets are spread at least half as wide as in the first row."""
    growth, accuracy = _growth("target_std")(figures, first), figures.get("accuracy")
    if growth is None or accuracy is None:
        return None
    return float(accuracy) if growth < 0.5 else 0.0


def _share_of_a_guess(figures: Figures, first: Figures) -> float | None:
    """The contrastive part of a loss over the loss of guessing."""
    loss, trivial = figures.get("contrastive_loss"), figures.get("baseline_loss")
    return None if loss is None or not trivial else loss / trivial


_HARDLY_GROWN = 1.15
_AGREEMENT = 0.15  # of the trivial loss; healthy BYOL stays above it, or keeps its projections apart
_RATE = Diagnosis("the learning rate is too high", "lower --base_learning_rate")

CAUSES = (
    Sign(
        "shared_teacher",
        _distance_of_own_tensors,
        "the teacher equals the student (relative distance {figure:.1e})",
        Diagnosis(
            "it is no copy of its own",
            "build it as a copy, or raise --teacher_momentum if that is near 0",
        ),
        below=1e-9,
    ),
    Sign(
        "still_weights",
        _moved("weight_mark"),
        "no weight has moved since the start",
        Diagnosis("the learning rate is 0 or nothing is trainable", "raise --base_learning_rate"),
        below=0.5,
    ),
    Sign(
        "still_teacher",
        _once_weights_moved(_moved("teacher_mark")),
        "the teacher has not moved since the start, while the student has",
        Diagnosis("it never follows the student", "lower --teacher_momentum below 1"),
        below=0.5,
    ),
    Sign(
        "equal_images",
        _spread_from_the_start,
        "features were nearly equal before training already (std {figure:.1e})",
        Diagnosis("the rows of the data are all alike, or empty", "look at --dataset, or at --init_from"),
        below=LEAST_STD,
        kind="validation",
        rows=1,
    ),
    Sign(
        "equal_views",
        _plain("view_distance"),
        "the two views of an image are the same (relative distance {figure:.1e})",
        Diagnosis("the augmentation is off", "set --augmentation, or a wider --crop_scale"),
        below=1e-4,
    ),
    Sign(
        "vanished_weights",
        _growth("weight_norm"),
        "the weights have shrunk to {figure:.1%} of their size at the start",
        Diagnosis("weight decay is too strong", "lower --weight_decay"),
        below=0.1,
    ),
    Sign(
        "grown_weights",
        _move_a_step,
        "the weights grow {figure:.1f} times as fast as they may",
        _RATE,
        above=1.0,
        lasts=True,
    ),
)

EFFECTS = (
    Sign(
        "not_finite",
        _not_finite,
        "features of validation rows are not finite",
        _RATE,
        above=0.5,
        kind="validation",
        rows=1,
    ),
    Sign(
        "few_outputs",
        _plain("marginal_entropy"),
        "few outputs are the targets of all samples (marginal entropy {figure:.2f})",
        Diagnosis("outputs are not kept balanced", "lower --base_learning_rate"),
        below=0.4,
        rows=3,
        patience=0.25,
    ),
    Sign(
        "uniform_output",
        _plain("teacher_entropy"),
        "every target is uniform (entropy {figure:.4f} of ln K)",
        Diagnosis("targets are not sharp enough", "lower --base_learning_rate"),
        above=0.999,
        rows=3,
        patience=0.1,
    ),
    Sign(
        "few_codes",
        _plain("code_entropy"),
        "a few codes stand for all frames (entropy {figure:.2f} of ln V)",
        Diagnosis("nothing keeps the codes in use", "raise --diversity_weight"),
        below=0.15,
        rows=3,
        patience=0.1,
    ),
    Sign(
        "easy_frames",
        _accuracy_as_targets_shrink,
        "nearly all masked frames are found ({figure:.1%}) while targets become alike",
        Diagnosis("frames give themselves away", "look at --dataset"),
        above=0.97,
        rows=3,
        patience=0.1,
    ),
    Sign(
        "no_loss",
        _share_of_a_guess,
        "the contrastive loss is near 0 ({figure:.1%} of a guess)",
        Diagnosis("the task is too easy", "look at --dataset"),
        below=0.02,
        rows=3,
        patience=0.1,
    ),
    Sign(
        "constant_embeddings",
        _spread_where_views_agree,
        "the loss is near 0 and projections are nearly equal (std {figure:.3f})",
        Diagnosis("nothing keeps the outputs of different images apart", "lower --base_learning_rate"),
        below=0.25,
        rows=3,
        patience=0.1,
    ),
    Sign(
        "constant_features",
        _plain("validation/std"),
        "features of different rows are nearly equal (std {figure:.4f})",
        _RATE,
        below=LEAST_STD,
        kind="validation",
        rows=1,
    ),
    Sign(
        "few_dimensions",
        _plain("validation/rank_me"),
        "features use only {figure:.1f} dimensions",
        _RATE,
        below=LEAST_RANK,
        kind="validation",
        rows=1,
    ),
    Sign(
        "baseline_loss",
        _over_trivial,
        "the loss is at its baseline, nothing is learned (off by {figure:.2%})",
        Diagnosis("the learning rate is too high or too low", "change --base_learning_rate"),
        below=0.002,
        rows=3,
        patience=0.5,
    ),
)
