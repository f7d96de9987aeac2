"""From rows of figures to alarms: what raises one, what ends it, and what it says."""

import json
import math
from typing import Any

import pytest

from hfssl.objective import Diagnosis
from hfssl.training.alarms import AlarmHistory, news
from hfssl.training.collapse_signs import CAUSES, EFFECTS

START = {"weight_norm": 10.0, "weight_mark": 1.0, "teacher_mark": 1.0, "teacher_distance": 0.0, "teacher_shared": 0.0}
START |= {"target_std": 0.5}
HEALTHY = {
    "loss": 3.0,
    "baseline_loss": 4.0,
    "embedding_std": 0.7,
    "teacher_entropy": 0.5,
    "marginal_entropy": 0.9,
    "prototype_usage": 0.4,
    "code_entropy": 0.7,
    "contrastive_loss": 2.5,
    "accuracy": 0.4,
    "target_std": 0.5,
    "view_distance": 0.7,
    "weight_norm": 10.5,
    "weight_mark": 2.0,
    "teacher_mark": 1.5,
    "teacher_distance": 0.02,
    "teacher_shared": 0.0,
}
LOOK = {"validation/std": 0.3, "validation/rank_me": 12.0, "validation/loss": 3.1}
NEVER_MOVED = {"weight_mark": 1.0, "teacher_mark": 1.0, "teacher_distance": 0.0}
FAILURES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("shared_teacher", {"teacher_shared": 0.5}, {}),
    ("shared_teacher", {"teacher_distance": 0.0}, {}),
    ("still_weights", NEVER_MOVED, {}),
    ("still_teacher", {"teacher_mark": 1.0}, {}),
    ("equal_views", {"view_distance": 0.0}, {}),
    ("vanished_weights", {"weight_norm": 0.5}, {}),
    ("grown_weights", {"weight_norm": 40.0}, {}),
    ("few_outputs", {"marginal_entropy": 0.01, "teacher_entropy": 0.01}, {}),
    ("uniform_output", {"teacher_entropy": 0.9999, "loss": 4.0}, {}),
    ("constant_embeddings", {"embedding_std": 0.05, "loss": 0.01}, {}),
    ("few_codes", {"code_entropy": 0.02, "accuracy": 1.0, "contrastive_loss": 0.0}, {}),
    ("easy_frames", {"accuracy": 0.99, "target_std": 0.2}, {}),
    ("no_loss", {"contrastive_loss": 0.01}, {}),
    ("baseline_loss", {"loss": 4.001}, {}),
    ("constant_features", {}, {"validation/std": 1e-4}),
    ("few_dimensions", {}, {"validation/rank_me": 1.2}),
    ("not_finite", {}, {"validation/std": None, "validation/rank_me": None}),
    ("equal_images", {}, {"validation/std": 1e-4}),
]


def begun(first_look: dict[str, Any] | None = None) -> AlarmHistory:
    memory = AlarmHistory({}, {})
    memory.begin(START)
    memory.observe("validation", 0, LOOK | (first_look or {}))
    return memory


def signs_after(training: dict[str, Any], look: dict[str, Any], first_look: dict[str, Any] | None = None) -> list[str]:
    """Signs in force after 60 of 100 steps that all look like this."""
    memory = begun(first_look)
    for step in range(10, 61, 10):
        memory.observe("training", step, {"step": step} | HEALTHY | training)
    memory.observe("validation", 60, LOOK | look)
    return [alarm.sign for alarm in memory.alarms(100, {})]


def test_a_healthy_run_raises_nothing() -> None:
    assert signs_after({}, {}) == []


@pytest.mark.parametrize(("sign", "training", "look"), FAILURES)
def test_each_failure_raises_the_one_alarm_that_names_its_cause(
    sign: str, training: dict[str, Any], look: dict[str, Any]
) -> None:
    first_look = look if sign == "equal_images" else None
    assert signs_after(training, look, first_look) == [sign]


def test_every_sign_is_among_the_failures() -> None:
    assert {sign.name for sign in CAUSES + EFFECTS} == {name for name, _, _ in FAILURES}


def test_an_effect_is_left_unsaid_beside_a_cause() -> None:
    stuck = {"teacher_entropy": 1.0, "loss": 4.0}
    assert signs_after(stuck, {"validation/std": 1e-4}) == ["uniform_output"]
    assert signs_after(stuck | {"weight_norm": 40.0}, {"validation/std": 1e-4}) == ["grown_weights"]
    assert signs_after(stuck | {"weight_norm": 40.0, "teacher_mark": 1.0}, {}) == ["still_teacher", "grown_weights"]


def test_a_value_that_comes_and_goes_raises_nothing() -> None:
    memory = begun()
    for step in range(10, 101, 10):
        entropy = 0.01 if step % 20 else 0.9
        memory.observe("training", step, {"step": step} | HEALTHY | {"marginal_entropy": entropy})
        assert memory.alarms(100, {}) == []


def test_an_effect_must_hold_for_a_share_of_the_run_however_often_rows_are_logged() -> None:
    memory = begun()
    seen = []
    for step in range(1, 41):
        memory.observe("training", step, {"step": step} | HEALTHY | {"marginal_entropy": 0.01})
        seen.append(bool(memory.alarms(100, {})))
    assert seen.index(True) == 25
    assert all(seen[25:])


def test_weights_that_have_grown_too_fast_stay_named_when_they_rest() -> None:
    memory = begun()
    for step in (10, 20):
        memory.observe("training", step, {"step": step} | HEALTHY | {"weight_norm": 20.0})
    for step in range(1000, 9001, 1000):
        memory.observe("training", step, {"step": step} | HEALTHY | {"weight_norm": 20.0})
    assert [alarm.sign for alarm in memory.alarms(10_000, {})] == ["grown_weights"]
    slow = begun()
    for step in range(1000, 9001, 1000):
        slow.observe("training", step, {"step": step} | HEALTHY | {"weight_norm": 10.0 + step / 300})
    assert slow.alarms(10_000, {}) == [], "a long run may well make its weights four times as large"


def test_a_still_start_is_no_still_run() -> None:
    memory = begun()
    memory.observe("training", 1, {"step": 1} | HEALTHY | NEVER_MOVED)
    assert memory.alarms(100, {}) == []
    memory.observe("training", 2, {"step": 2} | HEALTHY)
    memory.observe("training", 3, {"step": 3} | HEALTHY)
    assert memory.alarms(100, {}) == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_figures_that_are_no_numbers_change_nothing(value: float | None) -> None:
    memory = begun()
    memory.observe("training", 10, dict.fromkeys(HEALTHY, value) | {"step": 10})
    memory.observe("validation", 10, {"validation/std": 0.2, "validation/rank_me": value, "validation/loss": value})
    assert memory.held == {}
    for step in (10, 20, 40):
        memory.observe("training", step, {"step": step} | HEALTHY | {"marginal_entropy": 0.01})
    memory.observe("training", 50, dict.fromkeys(HEALTHY, value) | {"step": 50})
    assert [alarm.sign for alarm in memory.alarms(100, {})] == ["few_outputs"]


def test_a_start_that_is_unknown_compares_with_nothing() -> None:
    memory = AlarmHistory({}, {})
    for step in (10, 20, 30):
        memory.observe("training", step, {"step": step} | HEALTHY | {"weight_mark": step, "teacher_mark": step})
    assert memory.alarms(100, {}) == []


def test_what_is_remembered_survives_json() -> None:
    memory, copy = begun(), begun()
    for step in range(10, 41, 10):
        row = {"step": step} | HEALTHY | {"marginal_entropy": 0.01 + 1e-9 * step}
        memory.observe("training", step, row)
        copy = AlarmHistory(**json.loads(json.dumps({"first": copy.first, "held": copy.held})))
        copy.observe("training", step, row)
    assert copy.alarms(100, {}) == memory.alarms(100, {}) != []


def test_the_objective_knows_the_cause_better_and_each_alarm_is_said_once() -> None:
    memory = begun()
    for step in (10, 20, 40):
        memory.observe("training", step, {"step": step} | HEALTHY | {"marginal_entropy": 0.01})
    (alarm,) = memory.alarms(100, {"few_outputs": Diagnosis("the centre sleeps", "set --centre_momentum 0.9")})
    assert alarm.sentence == (
        "collapse: few outputs are the targets of all samples (marginal entropy 0.01) since step 10; "
        "probably the centre sleeps: set --centre_momentum 0.9"
    )
    assert news([], [alarm]) == [f"warning: {alarm.sentence}"]
    assert news([alarm], [alarm._replace(figure=0.02)]) == []
    assert news([alarm], []) == [f"no longer so: {alarm.says}"]
