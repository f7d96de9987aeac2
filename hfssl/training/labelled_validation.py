"""Watching a fine-tuning on labelled rows that it does not train on: their loss and scores, and which step did best.

R ranks.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from hfssl.data.loader import BatchLayout
from hfssl.distributed import all_gather_objects, all_reduce_sum, world_size
from hfssl.objective import BadRowError, DataPipeline, Examples, Objective
from hfssl.run_dir import Json
from hfssl.training.checkpoint import TrainState
from hfssl.training.monitor import PREFIX, blocks, moved

Scores = Callable[[list[Any]], dict[str, float | None]]


@dataclass(frozen=True)
class BestStep:
    """Which step's weights are kept: the one whose `figure` is highest, of equals that of the lowest loss.

    patience: looks without a better one that end the run; None: none do. What was found so far is kept in the state.
    """

    figure: str
    patience: int | None

    def is_best(self, state: TrainState, figures: Json) -> bool:
        """Whether the state's step is the best so far, which it then records."""
        score, loss = figures[PREFIX + self.figure], figures[PREFIX + "loss"]
        reached = [float("-inf") if score is None else score, float("-inf") if loss is None else -loss]
        state.looks_since_best += 1
        if state.best_reached is not None and reached <= state.best_reached:
            return False
        state.best_step, state.best_reached, state.looks_since_best = state.step, reached, 0
        return True

    def is_over(self, state: TrainState) -> bool:
        """Whether looking further is not worth while."""
        return self.patience is not None and state.looks_since_best >= self.patience


@dataclass(frozen=True)
class LabelledValidation:
    """Examples as `DataPipeline.samples` gives them, looked at whole and without chance by every rank's share.

    good: numbers of those that can be read; scores: of the predictions to them, by name; choice: what these decide.
    """

    examples: Examples
    pipeline: DataPipeline
    good: Tensor
    scores: Scores
    choice: BestStep

    def agreed(self) -> "LabelledValidation | None":
        """Those that every rank could read, so that their collectives match; None if one has no rows."""
        common = set.intersection(*all_gather_objects(set(self.good.tolist())))
        good = torch.tensor([row for row in self.good.tolist() if row in common], dtype=torch.int64)
        return replace(self, good=good) if len(good) >= world_size() else None

    def validate(
        self, accelerator: Accelerator, objective: Objective, layout: BatchLayout, progress: float
    ) -> Json | None:
        """Loss and scores of the objective as it stands, keys `validation/...`; None where a row can no longer be read.

        Called by all ranks, with the same result.
        """
        was_training = objective.training
        objective.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=accelerator.device)
        predictions: list[Any] = []
        try:
            with torch.no_grad(), accelerator.autocast():
                for ids_B in blocks(self.good, layout):
                    batch, problems = None, torch.zeros((), device=accelerator.device)
                    try:
                        batch = self.pipeline.eval_transform([self.examples[index] for index in ids_B.tolist()])
                    except BadRowError:
                        problems += 1
                    if bool(all_reduce_sum(problems)) or batch is None:  # every rank gives up, or none does
                        return None
                    batch = moved(batch, accelerator)
                    output = objective.forward(batch, progress)
                    sums += torch.stack([output.loss_sum.double(), output.num_targets.double()])
                    predictions += objective.predictions(batch)  # type: ignore[operator]
        finally:
            objective.train(was_training)
        loss_sum, num_targets = all_reduce_sum(sums).tolist()
        everywhere = [answer for of_rank in all_gather_objects(predictions) for answer in of_rank]
        figures = {"loss": loss_sum / num_targets if num_targets else None} | self.scores(everywhere)
        return {PREFIX + name: value for name, value in figures.items()}
