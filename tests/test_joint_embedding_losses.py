"""Each method's forward pass against slow loops written from its paper, and what it stages and commits."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, log_softmax, normalize, softmax

from tests.support.joint_embeddings import APPLIED, objective_of, views

DOUBLE = torch.float64


def test_simclr_is_the_sum_over_views_of_equation_1() -> None:
    objective = objective_of("simclr").double()
    batch = views(5, dtype=DOUBLE)
    output = objective(batch, 0.0)
    crops = batch["global_crops"].transpose(0, 1).flatten(0, 1)  # the first views, then the second
    order = torch.arange(10).view(2, 5).T.flatten()
    features = objective.backbone(crops[order])
    projections = objective.projection_head(features)[order.argsort()]
    expected = 0.0
    for view in range(10):
        others = [other for other in range(10) if other != view]
        similarities = torch.stack(
            [cosine_similarity(projections[view], projections[other], dim=0) for other in others]
        )
        positive = others.index((view + 5) % 10)
        expected -= float(log_softmax(similarities / objective.config.temperature, dim=0)[positive].detach())
    assert float(output.loss_sum.detach()) == pytest.approx(expected, rel=1e-9)
    assert float(output.num_targets) == 10


def test_byol_predicts_the_other_views_target_both_ways() -> None:
    objective = objective_of("byol").double()
    batch = views(5, dtype=DOUBLE)
    output = objective(batch, 0.0)
    crops = batch["global_crops"].flatten(0, 1)
    predictions = objective.prediction_head(objective.student()(crops)).unflatten(0, (5, 2))
    targets = objective.teacher(crops).unflatten(0, (5, 2))
    expected = 0.0
    for image in range(5):
        for view in range(2):
            cosine = cosine_similarity(predictions[image, view], targets[image, 1 - view], dim=0)
            expected += float((2 - 2 * cosine).detach())
    assert float(output.loss_sum.detach()) == pytest.approx(expected, rel=1e-9)
    assert float(output.num_targets) == 5  # images: the paper adds both directions


def test_moco_reads_the_queue_before_its_keys_enter() -> None:
    objective = objective_of("moco").double()
    batch, queue = views(8, dtype=DOUBLE), objective.queue.features_QD.clone()
    output = objective(batch, 0.0)
    queries = normalize(objective.student()(batch["global_crops"][:, 0]), dim=1)
    keys = normalize(objective.teacher(batch["global_crops"][:, 1]), dim=1)
    expected = 0.0
    for query, key in zip(queries, keys, strict=True):
        logits = torch.cat([(query @ key)[None], queue @ query]) / objective.config.temperature
        expected -= float(log_softmax(logits, dim=0)[0].detach())
    assert float(output.loss_sum.detach()) == pytest.approx(expected, rel=1e-9)
    assert torch.equal(objective.queue.features_QD, queue)
    objective.on_step_end(0.0, APPLIED)
    assert torch.allclose(objective.queue.features_QD[:8], keys, atol=1e-6)
    assert torch.equal(objective.queue.features_QD[8:], queue[8:])
    objective(batch, 0.0)
    objective.on_step_end(0.0, torch.tensor(False))
    assert int(objective.queue.position) == 8


def test_moco_shuffles_before_batch_norms_and_not_in_eval_mode() -> None:
    objective = objective_of("moco", "resnet", batch_norm_splits=2)
    pixels, keys = views(8)["global_crops"][:, 1], views(8)["keys"]
    plain = objective.teacher(pixels)
    assert not torch.allclose(objective._keys(pixels, keys), plain, atol=1e-5)  # other samples share its statistics
    objective.eval()
    assert torch.allclose(objective._keys(pixels, keys), objective.teacher(pixels), atol=1e-6)


def dino_slowly(objective: object, batch: dict[str, Tensor], progress: float) -> float:
    teacher = [objective.teacher(batch["global_crops"][:, crop]) for crop in range(2)]
    student = [objective.student()(batch["global_crops"][:, crop]) for crop in range(2)]
    student += [objective.student()(batch["local_crops"][:, crop]) for crop in range(2)]
    total = 0.0
    for crop, logits in enumerate(teacher):
        centred = (logits - objective.centre.centre_K) / objective._teacher_temperature(progress)
        targets = softmax(centred, dim=1)
        for other, predictions in enumerate(student):
            if other != crop:
                temperature = objective.config.student_temperature
                total -= float((targets * log_softmax(predictions / temperature, dim=1)).sum().detach())
    return total


def test_dino_is_the_loop_over_other_crops_and_moves_its_centre_after() -> None:
    objective = objective_of("dino", centre_momentum=0.9).double()
    batch = views(4, num_local=2, dtype=DOUBLE)
    first = objective(batch, 0.0)
    assert float(first.loss_sum.detach()) == pytest.approx(dino_slowly(objective, batch, 0.0), rel=1e-9)
    assert float(first.num_targets) == 4 * 2 * 3
    assert not objective.centre.centre_K.any()
    mean = objective.teacher(batch["global_crops"].flatten(0, 1)).mean(dim=0)
    objective.on_step_end(0.0, APPLIED)
    assert torch.allclose(objective.centre.centre_K.double(), 0.1 * mean, atol=1e-6)
    second = objective(batch, 0.0)
    assert float(second.loss_sum.detach()) == pytest.approx(dino_slowly(objective, batch, 0.0), rel=1e-6)


def test_dino_of_equal_logits_is_ln_k() -> None:
    objective = objective_of("dino")
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.zero_()
    output = objective(views(4, num_local=2), 0.0)
    assert float(output.loss_sum.detach() / output.num_targets) == pytest.approx(math.log(12), rel=1e-6)


def test_dino_freezes_its_last_layer_and_warms_its_teacher_up() -> None:
    settings = {"initial_teacher_temperature": 0.04, "teacher_temperature": 0.08}
    objective = objective_of(
        "dino", freeze_last_layer_fraction=0.25, teacher_temperature_warmup_fraction=0.5, **settings
    )
    assert [round(objective._teacher_temperature(progress), 6) for progress in (0.0, 0.25, 0.5, 1.0)] == [
        0.04,
        0.06,
        0.08,
        0.08,
    ]
    for progress, is_frozen in ((0.2, True), (0.25, False)):
        objective.zero_grad()
        objective(views(4, num_local=2), progress).loss_sum.backward()
        objective.on_gradients_ready(progress)
        *_, last = objective.projection_head.children()
        assert (last.weight.grad is None) == is_frozen
        assert objective.backbone.model.embeddings.cls_token.grad is not None


def codes_slowly(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Equations 3 and 4 of the paper, row by row and column by column."""
    codes = torch.exp((scores - scores.max()) / epsilon)
    for _ in range(iterations):
        codes = codes / codes.sum(dim=0, keepdim=True)
        codes = codes / codes.sum(dim=1, keepdim=True)
    return codes


@pytest.mark.parametrize("progress", [0.0, 0.5])
def test_swav_predicts_the_codes_of_other_crops_with_a_queue_after_its_start(progress: float) -> None:
    objective = objective_of("swav", queue_start_fraction=0.3, sinkhorn_epsilon=0.5).double()
    config, batch = objective.config, views(6, num_local=2, dtype=DOUBLE)
    output = objective(batch, progress)
    joined = [objective._projected(batch[name]) for name in ("global_crops", "local_crops")]
    projections = torch.cat(joined, dim=1).detach()
    prototypes = normalize(objective.prototypes.weight.detach(), dim=1)
    expected = 0.0
    for crop in range(2):
        scores = projections[:, crop] @ prototypes.T
        if progress >= 0.3:
            scores = torch.cat([scores, objective.queues[crop].features_QD.double() @ prototypes.T])
        codes = codes_slowly(scores, 0.5, config.sinkhorn_iterations)[:6]
        for other in range(4):
            if other != crop:
                predicted = log_softmax(projections[:, other] @ prototypes.T / config.temperature, dim=1)
                expected -= float((codes * predicted).sum())
    assert float(output.loss_sum.detach()) == pytest.approx(expected, rel=1e-8)
    assert float(output.num_targets) == 6 * 2 * 3
    objective.on_step_end(progress, APPLIED)
    assert torch.allclose(objective.queues[1].features_QD[:6].double(), projections[:, 1], atol=1e-6)


def test_swav_keeps_its_prototypes_at_first() -> None:
    objective = objective_of("swav", freeze_prototypes_fraction=0.1)
    for progress, is_frozen in ((0.05, True), (0.1, False)):
        objective.zero_grad()
        objective(views(6, num_local=2), progress).loss_sum.backward()
        objective.on_gradients_ready(progress)
        assert (objective.prototypes.weight.grad is None) == is_frozen
