"""The cross-entropy summed over all targets of a batch. N targets, C classes."""

from torch import Tensor
from torch.nn.functional import cross_entropy


def summed_cross_entropy(logits_NC: Tensor, labels_N: Tensor, *, ignore_index: int = -100) -> Tensor:
    """Sum `-log softmax` over the targets that are not `ignore_index`; 0-d, in the dtype of the logits.

    The loss of each target is made first. torch's own sum adds them one by one on a GPU, and rounds at each.
    """
    return cross_entropy(logits_NC, labels_N, ignore_index=ignore_index, reduction="none").sum()
