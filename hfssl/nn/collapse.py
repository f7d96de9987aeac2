"""Is a representation collapsed? Pure functions of a feature matrix. N samples, D width."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

LEAST_STD = 0.005
LEAST_RANK_SHARE = 0.02
LEAST_RANK = 2.0


def feature_std(features_ND: Tensor) -> float:
    """Mean standard deviation of the l2-normalised, then sqrt(D)-scaled features: 1 if isotropic, 0 if constant
    (Chen & He 2021, figure 2)."""
    if len(features_ND) < 2:
        return 0.0
    normalised_ND = normalize(features_ND.double(), dim=1)
    return float(normalised_ND.std(dim=0).mean() * features_ND.shape[1] ** 0.5)


def rank_me(features_ND: Tensor) -> float:
    """Effective rank: exp of the entropy of the normalised singular values (Garrido et al. 2023, equation 1); of the
    centred features, since a constant offset carries no information about the samples."""
    centred_ND = features_ND.double() - features_ND.double().mean(dim=0)
    singular_values = torch.linalg.svdvals(centred_ND)
    if float(singular_values.sum()) <= 1e-9 * max(1.0, float(features_ND.abs().max())):
        return 1.0
    shares = singular_values / singular_values.sum() + 1e-12
    return float(torch.exp(-(shares * shares.log()).sum()))


def collapse_warnings(features_ND: Tensor) -> list[str]:
    """One sentence for each sign of collapse; empty for a healthy representation."""
    std, rank = feature_std(features_ND), rank_me(features_ND)
    least_rank = max(LEAST_RANK, LEAST_RANK_SHARE * min(features_ND.shape))
    warnings = []
    if std < LEAST_STD:
        warnings.append(f"collapse: features of different samples are nearly equal (std {std:.4f} < {LEAST_STD})")
    if rank < least_rank:
        warnings.append(
            f"collapse: features use only {rank:.1f} dimensions of {features_ND.shape[1]} (< {least_rank:.1f})"
        )
    return warnings
