import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.errors import ParamsError
from headrace.components.evaluation.bootstrap import Interval
from headrace.components.evaluation.gate import (
    RAW,
    Check,
    Rivals,
    affordable,
    beats,
    better,
    check_metrics,
    decision_of,
    guarded,
    no_rival,
    within,
)
from headrace.components.evaluation.paired import Difference
from headrace.components.evaluation.settings import Budget, Compare, Register, Threshold
from headrace.components.schema.labels import CategoryLabel
from headrace.components.tasks.metric_names import lower_is_better
from headrace.components.tasks.variants import task_of

AT_LEAST_90 = {"accuracy": Threshold(minimum=0.9)}
SIDES = task_of(CategoryLabel(name="side", classes=("tails", "heads")))


def register(**keys) -> Register:
    return Register.model_validate({"thresholds": {}, "compare": {"metric": "accuracy"}, **keys})


@pytest.mark.parametrize(
    ("value", "passes"),
    [(0.95, True), (0.90, True), (0.89, False), (math.nan, False)],  # a threshold may be met exactly
)
def test_a_threshold_is_of_the_measured_value(value, passes):
    [check] = within({"accuracy": value}, AT_LEAST_90)
    assert check.passed is passes


def test_a_maximum_may_be_met_exactly():
    bounds = {"loss": Threshold(maximum=0.2)}
    assert within({"loss": 0.2}, bounds)[0].passed
    assert not within({"loss": math.nextafter(0.2, 1)}, bounds)[0].passed


def test_every_check_counts_and_each_has_its_reason():
    thresholds = {"accuracy": Threshold(minimum=0.9), "loss": Threshold(maximum=0.2)}
    decision = decision_of([*within({"accuracy": 0.95, "loss": 0.25}, thresholds), no_rival("accuracy", 0.95)])
    assert decision.promote is False
    assert decision.reasons == (
        "accuracy 0.95 meets its threshold",
        "loss 0.25 is above the maximum of 0.2",
        "there was no champion to beat",
    )


def test_what_is_no_number_beats_nobody():
    assert no_rival("accuracy", math.nan) == Check(False, "accuracy is not a number")
    assert beats("accuracy", math.nan, 0.1) == Check(False, "accuracy is not a number")
    assert beats("accuracy", math.nan, math.nan) == Check(False, "accuracy is not a number")
    assert beats("accuracy", 0.1, math.nan).passed


def found(metric: str, low: float, high: float) -> Difference:
    return Difference(metric, (low + high) / 2, Interval(low, high, 0.95), 500, is_exact=False)


@pytest.mark.parametrize(
    ("metric", "low", "high", "settings", "passes", "said"),
    [
        ("accuracy", 0.01, 0.03, {}, True, "shown to be better than the champion"),
        ("accuracy", -0.01, 0.03, {}, False, "not shown to be better: the champion stays"),
        ("accuracy", -0.01, 0.03, {"when_unsure": "newer"}, True, "the newer model is taken"),
        ("accuracy", -0.03, -0.01, {"when_unsure": "newer"}, False, "shown to be worse than the champion"),
        ("accuracy", 0.0, 0.03, {}, False, "not shown to be better"),  # 0 is no improvement
        ("accuracy", 0.01, 0.03, {"minimum_improvement": 0.02}, False, "not shown to be better by more than 0.02"),
        ("accuracy", 0.021, 0.03, {"minimum_improvement": 0.02}, True, "shown to be better than the champion by more"),
        ("loss", -0.03, -0.01, {}, True, "lower is better): shown to be better"),
        ("loss", 0.01, 0.03, {}, False, "shown to be worse"),
        ("brier", -0.03, -0.01, {}, True, "shown to be better"),
    ],
)
def test_only_what_the_whole_interval_shows_counts(metric, low, high, settings, passes, said):
    check = better(Compare(metric=metric, **settings), found(metric, low, high))
    assert check.passed is passes
    assert said in check.reason


def test_without_rows_nobody_is_shown_to_be_better():
    assert better(Compare(metric="loss"), None).passed is False
    assert better(Compare(metric="loss", when_unsure="newer"), None).passed is True


numbers = st.floats(allow_nan=True, allow_infinity=False, width=32)


@given(numbers, numbers, st.sampled_from(["r2", "loss"]))
@settings(deadline=None, max_examples=50)
def test_of_two_models_at_most_one_beats_the_other(a, b, metric):
    assert not (beats(metric, a, b).passed and beats(metric, b, a).passed)


@pytest.mark.parametrize("metric", ["loss", "root_mean_squared_error", "accuracy", "r2"])
def test_a_tie_beats_nobody(metric):
    check = beats(metric, 0.5, 0.5)
    assert not check.passed
    assert f"{metric} 0.5 only equals the champion's 0.5" in check.reason
    assert beats(metric, 1.0, 2.0).passed is lower_is_better(metric)


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ({"thresholds": {"acuracy": {"minimum": 0.9}}}, r"thresholds\.acuracy"),
        ({"compare": {"metric": "f2"}}, r"compare\.metric"),
        ({"guards": {"f2": {}}}, r"guards\.f2"),
        ({"slices": [{"by": "Sex", "guards": {"f2": {}}}]}, r"slices\.0\.guards\.f2"),
        ({"slices": [{"by": "Sex", "thresholds": {"f2": {"minimum": 1}}}]}, r"slices\.0\.thresholds\.f2"),
        ({"guards": {"at_0": {}}}, r"guards\.at_0"),  # a point has no rows
    ],
)
def test_an_unknown_metric_is_an_error_that_lists_those_there_are(changed, place):
    with pytest.raises(ParamsError, match=rf"register\.{place}: .*; there are: accuracy, (at_0, )?loss"):
        check_metrics(["accuracy", "loss"], register(**changed), points=["at_0"])


def test_a_threshold_may_be_of_a_point():
    check_metrics(["accuracy"], register(thresholds={"at_0": {"minimum": 1}}), points=["at_0"])


@pytest.mark.parametrize(
    ("budget", "passes"),
    [({}, []), ({"model_bytes": 1000}, [True]), ({"model_bytes": 999, "latency_ms": 2}, [False, True])],
)
def test_a_model_may_cost_its_budget_and_no_more(budget, passes):
    checks = affordable(Budget(**budget), model_bytes=1000, latency_ms=1.5)
    assert [check.passed for check in checks] == passes


def sides(is_right: np.ndarray, **columns) -> pl.DataFrame:
    predicted = np.where(is_right, "heads", "tails")
    table = {"example_id": np.arange(len(is_right)), "target": ["heads"] * len(is_right), "prediction": predicted}
    raw = {f"{RAW}{name}": values for name, values in columns.items()}
    return pl.DataFrame({**table, "loss": np.where(is_right, 0.1, 2.0), **raw})


SEX = ["female"] * 100 + ["male"] * 100 + [None] * 10


def rivals(*, right: int, champion_right: int) -> Rivals:
    """All women are predicted right by both; of 100 men so many by the candidate, and by the champion."""
    place = np.arange(210)
    ours, theirs = ((place < 100) | (place >= 200) | (place < 100 + one) for one in (right, champion_right))
    return Rivals(SIDES, sides(ours, Sex=SEX), sides(theirs))


@pytest.mark.parametrize(
    ("right", "guard", "passes"),
    [
        (60, {}, False),
        (88, {}, True),  # 2 of 100: chance
        (60, {"worse_by": 0.4}, True),
        (88, {"when_unsure": "refuse"}, False),
        (88, {"when_unsure": "refuse", "worse_by": 0.1}, True),
    ],
)
def test_a_part_must_not_become_worse(right, guard, passes):
    chosen = register(slices=[{"by": "Sex", "guards": {"accuracy": guard}}])
    both = rivals(right=right, champion_right=90)
    checks = guarded(chosen, both.candidate, SIDES, both)
    assert all(check.passed for check in checks) is passes
    assert checks[-1].reason == "too few rows to judge: Sex missing"
    if not passes:
        assert checks[0].reason.startswith("Sex ")


def test_a_part_must_reach_its_threshold():
    chosen = register(slices=[{"by": ["Sex"], "thresholds": {"accuracy": {"minimum": 0.8}}}])
    poor, fair = (rivals(right=right, champion_right=0).candidate for right in (60, 75))
    [failed, *_] = guarded(chosen, poor, SIDES, None)
    assert failed == Check(False, failed.reason)
    assert "Sex male: accuracy 0.6, 97.5 % from" in failed.reason
    assert "shown to be below the minimum of 0.8" in failed.reason
    checks = guarded(chosen, fair, SIDES, None)
    assert checks[0] == Check(True, "2 of 2 guards and slices hold (97.5 % each, 95 % together)")


def test_a_guard_is_of_all_rows():
    both = rivals(right=50, champion_right=90)
    [failed, passed] = guarded(register(guards={"loss": {"worse_by": 0.1}}), both.candidate, SIDES, both)
    assert not failed.passed
    assert failed.reason.startswith("loss +0.362, 95 % from")
    assert passed.reason.startswith("0 of 1 guards and slices hold")


def test_without_guards_and_slices_nothing_is_said_of_them():
    both = rivals(right=50, champion_right=90)
    assert guarded(register(), both.candidate, SIDES, both) == []
