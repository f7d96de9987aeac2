"""k nearest neighbours by cosine similarity, weighted by temperature (Wu et al. 2018, section 3.4)."""

from typing import Any

import numpy as np
import torch

from hfssl.evaluation.neighbours import CPU, nearest_blocks
from hfssl.objective import Array

NUM_NEIGHBOURS = 20
TEMPERATURE = 0.07


def knn_predictions(train_ND: Any, train_labels_N: Array, test_MD: Any, device: torch.device = CPU) -> Array:
    """Class of each test row by the votes exp(similarity / temperature) of its nearest training rows; (M,) int64."""
    labels = torch.from_numpy(train_labels_N)
    num_classes = int(labels.max()) + 1
    predictions = []
    for rows_BK, similarities_BK in nearest_blocks(test_MD, train_ND, min(NUM_NEIGHBOURS, len(train_labels_N)), device):
        votes = torch.zeros(len(rows_BK), num_classes)
        votes.scatter_add_(1, labels[rows_BK], (similarities_BK / TEMPERATURE).exp())
        predictions.append(votes.argmax(dim=1))
    predicted: Array = torch.cat(predictions).numpy()
    return predicted


def knn_accuracy(train_ND: Array, train_labels_N: Array, test_MD: Array, test_labels_M: Array) -> float:
    """Share of test rows that the vote gets right; labels as they are stored, numbers or texts."""
    joined = np.unique(np.concatenate([train_labels_N, test_labels_M]), return_inverse=True)[1]
    predicted_M = knn_predictions(train_ND, joined[: len(train_ND)], test_MD)
    return float((predicted_M == joined[len(train_ND) :]).mean())
