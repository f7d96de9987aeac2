"""The loss of BYOL: the student predicts the direction of the teacher's projection. B samples, D width."""

from torch import Tensor

from hfssl.nn.precision import no_autocast, unit_rows


def cosine_regression(predictions_BD: Tensor, targets_BD: Tensor) -> Tensor:
    """2 - 2 cos, the squared distance of the unit vectors (Grill et al. 2020, "Bootstrap your own latent", equation 2).

    Args:
        predictions_BD: with gradient; targets_BD: without, whatever they bring. Both of any length.

    Returns:
        0-d, float32 or float64: the sum over B targets, each in [0, 4].
    """
    with no_autocast(predictions_BD):
        cosines_B = (unit_rows(predictions_BD) * unit_rows(targets_BD.detach())).sum(dim=1)
        return (2.0 - 2.0 * cosines_B).sum()
