"""Which layer of a speech encoder knows most: a linear probe of each, and one of their learnt weighted sum.

The weighted sum is that of Yang et al. 2021, "SUPERB: Speech processing universal performance benchmark", arXiv 2105.01051,
section 3: one softmax weight a layer, learnt with the classifier. N rows, L layers, D width, C classes.
"""

import numpy as np
import torch
from sklearn.model_selection import StratifiedKFold
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hfssl.evaluation.linear_probe import MOST_ITERATIONS, NUM_FOLDS, STRENGTHS, linear_probe
from hfssl.objective import Array
from hfssl.run_dir import Json, JsonView


def layer_probes(train_NLD: Array, train_labels_N: Array, test_MLD: Array, test_labels_M: Array) -> Json:
    """`linear`: test accuracy of each layer's probe; `weighted_sum`: that of their sum; `weights`: of its layers."""
    num_layers = train_NLD.shape[1]
    accuracies = [
        linear_probe(train_NLD[:, layer], train_labels_N, test_MLD[:, layer], test_labels_M)
        for layer in range(num_layers)
    ]
    strength = _strength(train_NLD, train_labels_N)
    fitted = _WeightedSum(train_NLD, train_labels_N, strength)
    accuracy = float((fitted.predict(test_MLD) == test_labels_M).mean())
    return {"linear": accuracies, "weighted_sum": accuracy, "weights": fitted.weights_L.tolist()}


def sentence(figures: JsonView) -> str:
    probes = " ".join(f"{accuracy:.3f}" for accuracy in figures["linear"])
    weights = " ".join(f"{weight:.2f}" for weight in figures["weights"])
    return (
        f"linear probe by layer, from the convolutions' output to the last: {probes}; of their learnt weighted sum "
        f"{figures['weighted_sum']:.3f} (weights {weights})"
    )


def _strength(train_NLD: Array, labels_N: Array) -> float:
    """The best of STRENGTHS on a fold of the training rows; the smaller one of equals."""
    smallest_class = int(np.unique(labels_N, return_counts=True)[1].min())
    if smallest_class < 2:
        return STRENGTHS[0]
    folds = StratifiedKFold(min(NUM_FOLDS, smallest_class), shuffle=True, random_state=0)
    inside, outside = next(folds.split(train_NLD[:, 0], labels_N))
    scores = [
        (_WeightedSum(train_NLD[inside], labels_N[inside], strength).predict(train_NLD[outside]) == labels_N[outside])
        for strength in STRENGTHS
    ]
    return STRENGTHS[int(np.argmax([right.mean() for right in scores]))]


class _WeightedSum:
    """Multinomial regression on a softmax-weighted sum of standardised layers; `strength` is scikit-learn's C."""

    def __init__(self, train_NLD: Array, labels_N: Array, strength: float) -> None:
        self._classes, targets_N = np.unique(labels_N, return_inverse=True)
        self._mean_LD = train_NLD.mean(axis=0)
        self._std_LD = train_NLD.std(axis=0) + 1e-8
        num_layers, width = train_NLD.shape[1:]
        self._logits_L = torch.zeros(num_layers, requires_grad=True)
        self._weight_CD = torch.zeros(len(self._classes), width, requires_grad=True)
        self._bias_C = torch.zeros(len(self._classes), requires_grad=True)
        parameters = [self._logits_L, self._weight_CD, self._bias_C]
        rows_NLD, targets = self._standardised(train_NLD), torch.from_numpy(targets_N)
        optimizer = torch.optim.LBFGS(parameters, max_iter=MOST_ITERATIONS, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            penalty = self._weight_CD.square().sum() / (2 * strength * len(targets))
            loss = cross_entropy(self._scores(rows_NLD), targets) + penalty
            loss.backward()
            return loss

        optimizer.step(closure)

    @property
    def weights_L(self) -> Array:
        return self._logits_L.detach().softmax(dim=0).numpy()

    @torch.no_grad()
    def predict(self, rows_NLD: Array) -> Array:
        chosen: Array = self._classes[self._scores(self._standardised(rows_NLD)).argmax(dim=1).numpy()]
        return chosen

    def _standardised(self, rows_NLD: Array) -> Tensor:
        return torch.from_numpy(((rows_NLD - self._mean_LD) / self._std_LD).astype(np.float32))

    def _scores(self, rows_NLD: Tensor) -> Tensor:
        mixed_ND = torch.einsum("nld,l->nd", rows_NLD, self._logits_L.softmax(dim=0))
        return nn.functional.linear(mixed_ND, self._weight_CD, self._bias_C)
