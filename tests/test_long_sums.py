"""Sums over many outputs, rows, frames and weights: what is known in closed form, or float64's value, to a millionth."""

import math
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor
from torch.nn.functional import normalize

import hfssl.methods
from hfssl.methods.byol.cosine_regression import cosine_regression
from hfssl.methods.moco.info_nce import info_nce
from hfssl.methods.simclr.nt_xent import nt_xent
from hfssl.methods.swav.sinkhorn import sinkhorn
from hfssl.nn.cross_entropy import summed_cross_entropy
from hfssl.nn.cross_view_losses import num_view_pairs, self_distillation, swapped_prediction
from hfssl.nn.ctc import summed_ctc_loss
from hfssl.nn.masked_positions import masked_position_loss
from hfssl.nn.precision import norms
from hfssl.training.lars import LARS, TRUST_COEFFICIENT

MILLIONTH = 1e-6
DTYPES = [torch.float32, torch.bfloat16]
GLOBAL, VIEWS = 2, 2


def presets_of(method: str) -> list[int]:
    """The numbers of prototypes of a method's presets."""
    folder = Path(str(hfssl.methods.__path__[0])) / method / "presets"
    return sorted({yaml.safe_load(file.read_text())["method"]["num_prototypes"] for file in folder.glob("*.yaml")})


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("num_images", [1, 7, 64])
@pytest.mark.parametrize("num_prototypes", presets_of("dino"))
def test_dino_of_equal_outputs_is_ln_k(num_prototypes: int, num_images: int, dtype: torch.dtype) -> None:
    outputs_BVK = torch.full((num_images, VIEWS, num_prototypes), 0.37, dtype=dtype)
    centre_K = torch.full((num_prototypes,), 0.11)
    loss_sum = self_distillation(
        outputs_BVK[:, :GLOBAL], outputs_BVK, centre_K, teacher_temperature=0.04, student_temperature=0.1
    )
    mean = float(loss_sum) / num_view_pairs(num_images, GLOBAL, VIEWS)
    assert mean == pytest.approx(math.log(num_prototypes), rel=MILLIONTH)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("num_images", [1, 7, 64])
@pytest.mark.parametrize("num_prototypes", presets_of("swav"))
def test_swav_of_equal_scores_is_ln_k(num_prototypes: int, num_images: int, dtype: torch.dtype) -> None:
    scores_BVK = torch.full((num_images, VIEWS, num_prototypes), 0.37, dtype=dtype)
    codes = [sinkhorn(scores_BK, epsilon=0.05, iterations=3) for scores_BK in scores_BVK[:, :GLOBAL].unbind(dim=1)]
    loss_sum = swapped_prediction(torch.stack(codes, dim=1), scores_BVK, 0.1)
    mean = float(loss_sum) / num_view_pairs(num_images, GLOBAL, VIEWS)
    assert mean == pytest.approx(math.log(num_prototypes), rel=MILLIONTH)


def test_the_loss_of_any_outputs_is_that_of_float64() -> None:
    teacher, student, centre = drawn(16, 2, 65536), drawn(16, 4, 65536, seed=1), drawn(65536, seed=2)
    settings = {"teacher_temperature": 0.07, "student_temperature": 0.1}
    single = self_distillation(teacher, student, centre, **settings)
    double = self_distillation(teacher.double(), student.double(), centre.double(), **settings)
    assert single.dtype == torch.float32
    assert float(single) == pytest.approx(float(double), rel=MILLIONTH)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("num_images", [32, 512])
def test_contrastive_losses_of_equal_projections_are_the_log_of_the_candidates(
    num_images: int, dtype: torch.dtype
) -> None:
    projections_BD = torch.full((num_images, 64), 0.37, dtype=dtype)
    loss_sum = nt_xent(projections_BD, projections_BD, 0.1)
    assert float(loss_sum) / (2 * num_images) == pytest.approx(math.log(2 * num_images - 1), rel=MILLIONTH)
    queue_QD = normalize(torch.ones(16384, 64), dim=1)
    loss_sum = info_nce(projections_BD, projections_BD, queue_QD, 0.07)
    assert float(loss_sum) / num_images == pytest.approx(math.log(16385), rel=MILLIONTH)


def test_the_regression_of_opposite_directions_is_4_a_target() -> None:
    ones_BD = torch.ones(8192, 256)
    assert float(cosine_regression(ones_BD, -ones_BD)) / 8192 == pytest.approx(4.0, rel=MILLIONTH)


@pytest.mark.parametrize(("num_targets", "num_classes"), [(500_000, 10), (64, 50_257)])
def test_equal_logits_cost_ln_of_the_classes_a_target(num_targets: int, num_classes: int) -> None:
    labels_N = torch.arange(num_targets) % num_classes
    logits_NC = torch.full((num_targets, num_classes), -1.7)
    assert float(summed_cross_entropy(logits_NC, labels_N)) / num_targets == pytest.approx(
        math.log(num_classes), rel=MILLIONTH
    )
    loss_sum, count = masked_position_loss(logits_NC[None].bfloat16(), labels_N[None])
    assert float(loss_sum) / int(count) == pytest.approx(math.log(num_classes), rel=MILLIONTH)


def test_ignored_targets_cost_nothing_and_get_no_gradient() -> None:
    logits_NC = drawn(6, 4).requires_grad_(True)
    loss_sum = summed_cross_entropy(logits_NC, torch.tensor([0, -100, 3, -100, 1, 2]))
    loss_sum.backward()
    assert logits_NC.grad is not None
    assert logits_NC.grad.any(dim=1).tolist() == [True, False, True, False, True, True]
    nothing = summed_cross_entropy(logits_NC, torch.full((6,), -100))
    nothing.backward()
    assert float(nothing.detach()) == 0.0


def ctc_slowly(logits_FV: Tensor, labels: list[int]) -> float:
    """Equations 6 to 8 of Graves et al. 2006, in Python's numbers, with shares in place of logarithms."""
    shares_FV = logits_FV.double().softmax(dim=1).tolist()
    extended = [0]
    for label in labels:
        extended += [label, 0]
    forward, log_scale = [1.0] + [0.0] * (len(extended) - 1), 0.0
    for frame, shares in enumerate(shares_FV):
        before = forward
        forward = []
        for place, label in enumerate(extended):
            total = before[place] + (before[place - 1] if place else 0.0)
            if frame == 0:
                total = float(place < 2)
            elif place > 1 and label not in (0, extended[place - 2]):
                total += before[place - 2]
            forward.append(total * shares[label])
        largest = max(forward)
        forward, log_scale = [value / largest for value in forward], log_scale + math.log(largest)
    return -(log_scale + math.log(forward[-1] + forward[-2]))


@pytest.mark.parametrize("spread", [0.0, 2.0])
def test_thirty_seconds_of_ctc_have_the_loss_and_gradient_of_float64(spread: float) -> None:
    logits_BFV = spread * drawn(2, 1500, 12)
    labels_BU = torch.randint(1, 12, (2, 150), generator=torch.Generator().manual_seed(1))
    counts = {"frames_B": torch.tensor([1500, 1200]), "characters_B": torch.tensor([150, 90]), "blank": 0}
    results = []
    for dtype in (torch.float32, torch.float64):
        logits = logits_BFV.to(dtype).clone().requires_grad_(True)
        loss_sum = summed_ctc_loss(logits, labels_BU, **counts)
        loss_sum.backward()
        assert loss_sum.dtype == logits.dtype
        results.append((float(loss_sum.detach()), logits.grad))
    (single, gradient), (double, exact) = results
    assert gradient is not None
    assert exact is not None
    slowly = ctc_slowly(logits_BFV[0], labels_BU[0].tolist())
    slowly += ctc_slowly(logits_BFV[1, :1200], labels_BU[1, :90].tolist())
    assert single == pytest.approx(double, rel=MILLIONTH)
    assert double == pytest.approx(slowly, rel=1e-9)
    assert float((gradient - exact).norm() / exact.norm()) < MILLIONTH


def test_norms_of_many_weights_are_those_of_float64() -> None:
    weights = torch.full((20_000_000,), 0.02)
    (norm,) = norms([weights])
    assert float(norm) == pytest.approx(0.02 * math.sqrt(len(weights)), rel=MILLIONTH)


def test_a_step_of_lars_is_its_share_of_a_large_matrix() -> None:
    weight = torch.nn.Parameter(torch.full((4000, 3000), 0.02))
    weight.grad = torch.full_like(weight, 0.3)
    LARS([weight], lr=1.0).step()
    moved = 0.02 - float(weight.detach()[0, 0])
    assert moved == pytest.approx(TRUST_COEFFICIENT * 0.02, rel=1e-4)  # of 2e-5 next to 2e-2 float32 knows as much
