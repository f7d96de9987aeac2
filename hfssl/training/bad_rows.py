"""Rows that cannot be read: named once, replaced, and too many of them end a run."""

from torch import Tensor

from hfssl.console import say
from hfssl.distributed import all_gather_objects
from hfssl.errors import TrainingError
from hfssl.objective import BadRowError, Examples
from hfssl.training.checkpoint import TrainState

_ALLOWED = 10
_SHARE_ALLOWED = 0.001


def note_bad_rows(state: TrainState, examples: Examples, bad_ids: Tensor) -> None:
    """Say why each row of `bad_ids` that was not known to be bad cannot be used."""
    for row in bad_ids.tolist():
        if row in state.bad_rows:
            continue
        state.bad_rows.append(row)
        try:
            examples[row]
        except BadRowError as error:
            say(f"row {row} cannot be used and is replaced: {error}")


def joined_bad_rows(state: TrainState) -> list[int]:
    """Bad rows of all ranks, sorted. Raises TrainingError on every rank where there are too many."""
    joined = sorted(set().union(*all_gather_objects(state.bad_rows)))
    tried = state.samples_seen + len(joined)
    allowed = max(_ALLOWED, int(_SHARE_ALLOWED * tried))
    if len(joined) > allowed:
        raise TrainingError(
            f"{len(joined)} of {tried} rows tried cannot be used, more than {allowed}: rows {joined[:10]}; mend or remove them"
        )
    return joined
