"""Validation of a run on rows that it does not train on: their loss with fixed draws, spread of the features, and with labels
an online kNN. Nothing of it reaches a gradient, a buffer or a random state.

R ranks, B samples per rank, N validation rows, M training rows that vote, D width.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from accelerate import Accelerator
from torch import Tensor

from hfssl.data.loader import BatchLayout, KeyedDataset
from hfssl.distributed import all_gather_objects, all_gather_with_gradient, all_reduce_sum, world_size
from hfssl.nn.collapse import feature_std, rank_me
from hfssl.objective import Array, BadRowError, Batch, DataPipeline, Examples, Objective
from hfssl.run_dir import Json

Accuracy = Callable[[Array, Array, Array, Array], float]
PREFIX = "validation/"
_FEWEST_ROWS = 8  # whose spread says anything
_FIXED_EPOCH = -1  # draws that no training step ever takes


@dataclass(frozen=True)
class ValidationSamples:
    """Rows of which features are taken: `examples` as `DataPipeline.samples` gives them.

    good: numbers of those that can be decoded, in the order in which they are looked at; labels: of these, or None.
    """

    examples: Examples
    pipeline: DataPipeline
    good: Tensor
    labels: Array | None

    def only(self, rows: set[int]) -> "ValidationSamples":
        """Those of the good rows that are among `rows`."""
        kept = [index for index, row in enumerate(self.good.tolist()) if row in rows]
        return replace(self, good=self.good[kept], labels=None if self.labels is None else self.labels[kept])


def validation_rows_of(
    examples: Examples, pipeline: DataPipeline, labels_N: Array | None, chosen: Tensor
) -> ValidationSamples:
    """The `chosen` rows, less those that cannot be decoded."""
    good = good_rows(examples, chosen)
    return ValidationSamples(examples, pipeline, good, None if labels_N is None else labels_N[good.numpy()])


def good_rows(examples: Examples, chosen: Tensor) -> Tensor:
    """Those of `chosen` that can be decoded, so that every look sees the same; int64."""
    good = []
    for index in chosen.tolist():
        try:
            examples[index]
        except BadRowError:
            continue
        good.append(index)
    return torch.tensor(good, dtype=torch.int64)


@dataclass(frozen=True)
class Monitor:
    """What is looked at, and how. Every rank holds the same rows and looks at its share of them.

    rows: validation rows as training would see them, for the loss; good: numbers of those that can be decoded.
    samples: the same data for features; voters: training rows for the kNN, or None where either side has no labels.
    accuracy: of a kNN, from (training features, training labels, test features, test labels).
    """

    rows: KeyedDataset
    good: Tensor
    samples: ValidationSamples
    voters: ValidationSamples | None
    accuracy: Accuracy

    def agreed(self) -> "Monitor | None":
        """The monitor of the rows that every rank could read, so that their collectives match; None if one has no rows."""
        sides = [self.good, self.samples.good, torch.empty(0) if self.voters is None else self.voters.good]
        everywhere = all_gather_objects([set(side.tolist()) for side in sides])
        common = [set.intersection(*(of_rank[index] for of_rank in everywhere)) for index in range(len(sides))]
        good = torch.tensor([row for row in self.good.tolist() if row in common[0]], dtype=torch.int64)
        samples = self.samples.only(common[1])
        voters = None if self.voters is None else self.voters.only(common[2])
        if min(len(good), len(samples.good)) < world_size():
            return None
        if voters is not None and len(voters.good) < world_size():
            voters = None
        return replace(self, good=good, samples=samples, voters=voters)

    def validate(
        self, accelerator: Accelerator, objective: Objective, layout: BatchLayout, progress: float
    ) -> Json | None:
        """Figures of the objective as it stands, keys `validation/...`; None where a row can no longer be read.

        Called by all ranks, with the same result.
        """
        was_training = objective.training
        objective.eval()
        try:
            with torch.no_grad(), accelerator.autocast():
                loss = self._mean_loss(accelerator, objective, layout, progress)
                features_ND = _features(self.samples, accelerator, objective, layout)
                voting_MD = None if self.voters is None else _features(self.voters, accelerator, objective, layout)
        except BadRowError:
            return None
        finally:
            objective.train(was_training)
        figures = {"loss": loss} | self._figures(features_ND, voting_MD)
        return {PREFIX + name: value for name, value in figures.items()}

    def _figures(self, features_ND: Tensor, voting_MD: Tensor | None) -> Json:
        if not bool(features_ND.isfinite().all()):
            return {"std": None, "rank_me": None}
        figures: Json = {}
        if len(features_ND) >= _FEWEST_ROWS:
            figures = {"std": feature_std(features_ND), "rank_me": rank_me(features_ND)}
        if voting_MD is not None and bool(voting_MD.isfinite().all()):
            figures["knn"] = self._accuracy(voting_MD, features_ND)
        return figures

    def _accuracy(self, voting_MD: Tensor, features_ND: Tensor) -> float:
        assert self.voters is not None
        assert self.voters.labels is not None
        assert self.samples.labels is not None
        voted = self.voters.labels[: len(voting_MD)], self.samples.labels[: len(features_ND)]
        return self.accuracy(voting_MD.numpy(), voted[0], features_ND.numpy(), voted[1])

    def _mean_loss(
        self, accelerator: Accelerator, objective: Objective, layout: BatchLayout, progress: float
    ) -> float | None:
        """The training objective in eval mode, with the draws of an epoch that never comes; None without a target.

        Past the compiled call, which would be compiled once more for it.
        """
        sums = torch.zeros(2, dtype=torch.float64, device=accelerator.device)
        nothing_applied = torch.zeros((), dtype=torch.bool, device=accelerator.device)
        for ids_B in blocks(self.good, layout):
            batch = self.rows.__getitems__((torch.full_like(ids_B, _FIXED_EPOCH), ids_B))
            del batch["bad_ids"]
            output = objective.forward(self.rows.pipeline.augment(moved(batch, accelerator), progress), progress)
            objective.on_step_end(progress, nothing_applied)  # forgets what forward staged for a queue or a centre
            sums += torch.stack([output.loss_sum.double(), output.num_targets.double()])
        loss_sum, num_targets = all_reduce_sum(sums).tolist()
        return loss_sum / num_targets if num_targets else None


def _features(
    samples: ValidationSamples, accelerator: Accelerator, objective: Objective, layout: BatchLayout
) -> Tensor:
    """(N, D) float32 on the CPU, in the order of `good`: as of the export, of examples without crop and chance."""
    gathered = []
    for ids_B in blocks(samples.good, layout):
        batch, problems = None, torch.zeros((), device=accelerator.device)
        try:
            batch = samples.pipeline.eval_transform([samples.examples[index] for index in ids_B.tolist()])
        except BadRowError:
            problems += 1
        if bool(all_reduce_sum(problems)) or batch is None:  # every rank raises, or none does
            raise BadRowError("a row that was looked at before can no longer be read")
        gathered.append(all_gather_with_gradient(objective.features(moved(batch, accelerator)).float()).cpu())
    return torch.cat(gathered)


def blocks(good: Tensor, layout: BatchLayout) -> list[Tensor]:
    """This rank's ids of each block of at most R * B rows; all ranks have as many, so up to R - 1 rows are left out."""
    size, ranks = layout.per_device_batch_size * layout.world_size, layout.world_size
    blocks = []
    for block in good[: len(good) // ranks * ranks].split(size):
        share = len(block) // ranks
        blocks.append(block[layout.rank * share : (layout.rank + 1) * share])
    return blocks


def moved(batch: Batch, accelerator: Accelerator) -> Batch:
    """The batch on the device."""
    return {name: tensor.to(accelerator.device, non_blocking=True) for name, tensor in batch.items()}
