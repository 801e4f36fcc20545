import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.errors import ParamsError
from headrace.components.evaluation.gate import decide
from headrace.components.evaluation.settings import Threshold
from headrace.components.tasks.metric_names import lower_is_better

AT_LEAST_90 = {"accuracy": Threshold(minimum=0.9)}


@pytest.mark.parametrize(
    ("candidate", "champion", "promoted"),
    [
        (0.95, None, True),
        (0.90, None, True),  # a threshold may be met exactly
        (0.89, None, False),
        (0.95, 0.94, True),
        (0.95, 0.95, False),  # as good is not better: the champion stays
        (0.95, 0.96, False),
        (0.89, 0.80, False),  # better than the champion, but not good enough
        (math.nan, None, False),
        (math.nan, 0.5, False),
        (0.95, math.nan, True),
    ],
)
def test_a_model_is_promoted_if_it_meets_its_thresholds_and_beats_the_champion(candidate, champion, promoted):
    present = None if champion is None else {"accuracy": champion}
    decision = decide({"accuracy": candidate}, thresholds=AT_LEAST_90, compare_by="accuracy", champion=present)
    assert decision.promote is promoted
    assert decision.reasons


@pytest.mark.parametrize(
    ("metric", "lower"),
    [
        ("loss", True),
        ("root_mean_squared_error", True),
        ("mean_absolute_error", True),
        ("accuracy", False),
        ("r2", False),
        ("roc_auc", False),
    ],
)
def test_less_of_a_loss_or_an_error_is_better(metric, lower):
    assert lower_is_better(metric) is lower
    decision = decide({metric: 1.0}, thresholds={}, compare_by=metric, champion={metric: 2.0})
    assert decision.promote is lower


def test_every_threshold_counts_and_each_has_its_reason():
    thresholds = {"accuracy": Threshold(minimum=0.9), "loss": Threshold(maximum=0.2)}
    decision = decide({"accuracy": 0.95, "loss": 0.25}, thresholds=thresholds, compare_by="accuracy", champion=None)
    assert decision.promote is False
    assert decision.reasons == (
        "accuracy 0.95 meets its threshold",
        "loss 0.25 is above the maximum of 0.2",
        "there was no champion to beat",
    )


@pytest.mark.parametrize(
    ("thresholds", "compare_by", "place"),
    [({"acuracy": Threshold(minimum=0.9)}, "accuracy", "thresholds.acuracy"), ({}, "f2", "compare_by")],
)
def test_an_unknown_metric_is_an_error_that_lists_those_there_are(thresholds, compare_by, place):
    with pytest.raises(ParamsError, match=rf"register\.{place}: .*; there are: accuracy, loss"):
        decide({"accuracy": 1.0, "loss": 0.0}, thresholds=thresholds, compare_by=compare_by, champion=None)


numbers = st.floats(allow_nan=True, allow_infinity=False, width=32)


@given(numbers, numbers)
@settings(deadline=None, max_examples=50)
def test_of_two_models_at_most_one_beats_the_other(a, b):
    def beats(one, other):
        return decide({"r2": one}, thresholds={}, compare_by="r2", champion={"r2": other}).promote

    assert not (beats(a, b) and beats(b, a))


@pytest.mark.parametrize("metric", ["loss", "root_mean_squared_error", "accuracy", "r2"])
def test_a_tie_promotes_nobody(metric):
    decision = decide({metric: 0.5}, thresholds={}, compare_by=metric, champion={metric: 0.5})
    assert decision.promote is False
    assert f"{metric} 0.5 only equals the champion's 0.5" in decision.reasons[-1]


@pytest.mark.parametrize("champion", [None, {"accuracy": math.nan}, {"accuracy": 0.1}, {}])
def test_what_is_no_number_beats_nobody_even_without_a_threshold(champion):
    decision = decide({"accuracy": math.nan}, thresholds={}, compare_by="accuracy", champion=champion)
    assert decision.promote is False
    assert decision.reasons == ("accuracy is not a number",)


def test_a_maximum_may_be_met_exactly():
    bounds = {"loss": Threshold(maximum=0.2)}
    assert decide({"loss": 0.2}, thresholds=bounds, compare_by="loss", champion=None).promote
    assert not decide({"loss": math.nextafter(0.2, 1)}, thresholds=bounds, compare_by="loss", champion=None).promote
