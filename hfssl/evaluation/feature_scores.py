"""What every results table shares: scores of one kind of features.

Protocol, the same for every table: kNN with k 20, temperature 0.07, cosine; linear probe on standardised features, C by
5-fold cross-validation inside the training rows; few labels as the mean and 95 % interval over 20 fixed draws. Test rows
are opened once, for scoring.
"""

import numpy as np
import torch

from hfssl.evaluation.knn import NUM_NEIGHBOURS, TEMPERATURE, knn_predictions
from hfssl.evaluation.linear_probe import (
    DENSE,
    MOST_ITERATIONS,
    NUM_DRAWS,
    NUM_FOLDS,
    STRENGTHS,
    Probe,
    few_label_probe,
    linear_probe,
)
from hfssl.nn.collapse import collapse_warnings, feature_std, rank_me
from hfssl.objective import Array
from hfssl.run_dir import Json

LARGEST_SPLIT = 2000
LABELS_A_CLASS = 10

PROTOCOL = {
    "knn": f"k {NUM_NEIGHBOURS}, temperature {TEMPERATURE}, cosine, votes weighted",
    "linear": f"StandardScaler + LogisticRegression, at most {MOST_ITERATIONS} iterations, C of {STRENGTHS} by "
    f"{NUM_FOLDS}-fold cross-validation in training rows",
    "few_labels": f"{LABELS_A_CLASS} labels per class, mean and 95 % interval of {NUM_DRAWS} fixed draws, else as linear",
    "rows": f"at most {LARGEST_SPLIT} of each split, the first of a fixed permutation",
}


def spread_of(features_ND: Array) -> Json:
    """Is the representation collapsed? std, RankMe and warnings, as a row of a table holds them."""
    features = torch.from_numpy(features_ND)
    return {"std": feature_std(features), "rank_me": rank_me(features), "warnings": collapse_warnings(features)}


def scores_of(
    train_ND: Array, train_labels_N: Array, test_MD: Array, test_labels_M: Array, probe: Probe = DENSE
) -> Json:
    """Whatever the labels allow: nothing for one class, no probe where a class has fewer rows than there are folds."""
    joined = np.unique(np.concatenate([train_labels_N, test_labels_M]), return_inverse=True)[1]
    train_labels_N, test_labels_M = joined[: len(train_labels_N)], joined[len(train_labels_N) :]
    class_sizes = np.unique(train_labels_N, return_counts=True)[1]
    if len(class_sizes) < 2:
        return {}
    predicted_M = knn_predictions(train_ND, train_labels_N, test_MD)
    scores: Json = {"knn": float((predicted_M == test_labels_M).mean())}
    if class_sizes.min() >= NUM_FOLDS:
        scores["linear"] = linear_probe(train_ND, train_labels_N, test_MD, test_labels_M, probe)
    if class_sizes.min() >= LABELS_A_CLASS:
        few = few_label_probe(
            train_ND, train_labels_N, test_MD, test_labels_M, labels_a_class=LABELS_A_CLASS, probe=probe
        )
        scores |= {"few_labels": few.mean, "few_labels_interval": few.interval}
        scores["num_labels"] = LABELS_A_CLASS * len(class_sizes)
    return scores
