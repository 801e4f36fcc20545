"""How sure a difference of two models is: held to SciPy, and to what happens in thousands of made-up comparisons."""

from functools import cache

import numpy as np
import polars as pl
import pytest
import scipy.stats as peer
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.evaluation import exact, paired
from headrace.components.evaluation.bootstrap import Interval, clusters_of, interval_of, poisson_weights, resample
from headrace.components.evaluation.gate import RAW, Rivals, better, guarded
from headrace.components.evaluation.settings import Compare, Register
from headrace.components.schema.labels import CategoryLabel, NumberLabel
from headrace.components.tasks.row_metrics import mean_of
from headrace.components.tasks.variants import task_of

SIDES = task_of(CategoryLabel(name="side", classes=("tails", "heads")))
LENGTH = task_of(NumberLabel(name="length"))


@given(st.integers(1, 400), st.data(), st.sampled_from([0.8, 0.95, 0.999]))
@settings(deadline=None, max_examples=40)
def test_the_interval_of_a_share_is_scipy_s_exact_one(of: int, data: st.DataObject, confidence: float) -> None:
    right = data.draw(st.integers(0, of))
    found = exact.share_interval(right, of, confidence=confidence)
    expected = peer.binomtest(right, of).proportion_ci(confidence, method="exact")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(st.integers(0, 60), st.integers(0, 60), st.sampled_from([0.8, 0.95, 0.99]))
@settings(deadline=None, max_examples=60)
def test_the_interval_of_a_difference_leaves_0_out_where_mcnemar_s_exact_test_rejects(
    better_rows: int, worse_rows: int, confidence: float
) -> None:
    found = exact.paired_share_interval(better_rows, worse_rows, of=200, confidence=confidence)
    p = peer.binomtest(better_rows, better_rows + worse_rows).pvalue if better_rows + worse_rows else 1.0
    assert (found.low > 0 or found.high < 0) == (p < 1 - confidence)
    mirrored = exact.paired_share_interval(worse_rows, better_rows, of=200, confidence=confidence)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))
    assert found.low <= (better_rows - worse_rows) / 200 <= found.high


@pytest.mark.parametrize(
    ("rows", "better_share", "worse_share"), [(167, 0.08, 0.02), (1000, 0.06, 0.01), (300, 0.2, 0.05), (1000, 0.05, 0)]
)
def test_the_interval_of_a_difference_has_the_true_one_as_often_as_it_says(
    rows: int, better_share: float, worse_share: float
) -> None:
    shares, true = [better_share, worse_share, 1 - better_share - worse_share], better_share - worse_share
    counts = np.random.default_rng(0).multinomial(rows, shares, 400)
    found = [exact.paired_share_interval(int(a), int(b), of=rows, confidence=0.95) for a, b, _ in counts]
    assert np.mean([one.low <= true <= one.high for one in found]) >= 0.935


def test_weights_are_poisson_s() -> None:
    drawn = poisson_weights(0, 1000, 1001)
    assert drawn.mean() == pytest.approx(1, abs=0.005)
    assert drawn.var() == pytest.approx(1, abs=0.01)
    shares = np.bincount(drawn.astype(int).ravel())[:6] / drawn.size
    np.testing.assert_allclose(shares, peer.poisson.pmf(range(6), 1), atol=0.002)
    assert np.array_equal(drawn[990:], poisson_weights(990, 10, 1001))  # whatever is drawn at once
    assert np.abs(np.corrcoef(drawn[:, :50].T) - np.eye(50)).max() < 0.15


def test_an_interval_is_that_of_scipy_s_bootstrap() -> None:
    values = np.random.default_rng(1).exponential(size=400)
    draws = resample({"mean": mean_of(values)}, np.arange(400), draws=20_000)["mean"]
    found = interval_of(draws, clusters=400, confidence=0.95)
    expected = peer.bootstrap((values,), np.mean, n_resamples=9999, method="percentile", rng=1).confidence_interval
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.01)


def test_the_same_rows_have_the_same_interval() -> None:
    rows = of_numbers(np.random.default_rng(2).normal(size=100))
    assert paired.intervals(LENGTH, rows, confidence=0.95) == paired.intervals(LENGTH, rows, confidence=0.95)


def test_rows_of_one_group_count_as_one_that_is_drawn() -> None:
    errors = np.repeat(np.random.default_rng(3).normal(size=50), 8)
    alone = of_numbers(errors)
    grouped = alone.with_columns(group_id=pl.col("example_id") // 8)
    lengths = [
        sure.high - sure.low
        for rows in (alone, grouped)
        if (sure := paired.intervals(LENGTH, rows, confidence=0.95)["loss"])
    ]
    assert lengths[1] / lengths[0] == pytest.approx(8**0.5, rel=0.2)


def test_of_very_many_rows_random_groups_have_as_good_an_interval() -> None:
    values = np.random.default_rng(4).normal(size=200_000)
    assert clusters_of(np.arange(200_000))[1] == 1 << 16
    draws = resample({"mean": mean_of(values)}, np.arange(200_000), draws=500)["mean"]
    assert draws.std() == pytest.approx(200_000**-0.5, rel=0.15)


@pytest.mark.parametrize("rows", [0, 1, 19])
def test_a_few_rows_are_no_evidence(rows: int) -> None:
    perfect, poor = of_numbers(np.zeros(rows)), of_numbers(np.ones(rows))
    assert paired.difference(LENGTH, perfect, poor, "loss", confidence=0.95) is None


def of_numbers(errors: np.ndarray) -> pl.DataFrame:
    """Outcomes whose predictions are off by `errors`."""
    target = np.random.default_rng(99).normal(size=len(errors))
    ids = np.arange(len(errors), dtype=np.uint64)
    return pl.DataFrame({"example_id": ids, "target": target, "prediction": target + errors, "loss": errors**2})


def of_sides(labels: np.ndarray, is_right: np.ndarray, confidence: np.ndarray) -> pl.DataFrame:
    """Outcomes of a model that is right where `is_right` says so, and gives its choice so much probability."""
    predicted = np.where(is_right, labels, 1 - labels)
    names = np.array(["tails", "heads"], dtype=object)
    heads = np.where(predicted == 1, confidence, 1 - confidence)
    return pl.DataFrame(
        {
            "example_id": np.arange(len(labels), dtype=np.uint64),
            "target": names[labels].tolist(),
            "prediction": names[predicted].tolist(),
            "loss": -np.log(np.where(is_right, confidence, 1 - confidence)),
            "probability_tails": (1 - heads).astype(np.float32),
            "probability_heads": heads.astype(np.float32),
        }
    )


def two_models(
    draw: np.random.Generator, rows: int, *, gain: float, agree: float = 0.9, accuracy: float = 0.82
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Outcomes of two models that are right on the same rows but for 1 - `agree`; the first is better by `gain`."""
    kind = draw.choice(3, rows, p=[agree, (1 - agree + gain) / 2, (1 - agree - gain) / 2])
    both = draw.random(rows) < (accuracy - (1 - agree) / 2) / agree
    labels = (draw.random(rows) < 0.3).astype(int)
    certainty = draw.uniform(0.55, 0.95, rows)
    sure = [np.clip(certainty + draw.normal(0, 0.04, rows), 0.505, 0.99) for _ in range(2)]
    rights = [np.where(kind == 0, both, kind == mine) for mine in (1, 2)]
    return of_sides(labels, rights[0], sure[0]), of_sides(labels, rights[1], sure[1])


@cache
def is_promoted(better_rows: int, worse_rows: int, rows: int) -> bool:
    """Whether so many rows that only the challenger gets right, and so many that only the champion does, are enough."""
    found = exact.paired_share_interval(better_rows, worse_rows, of=rows, confidence=0.95)
    value = (better_rows - worse_rows) / rows
    return better(Compare(metric="accuracy"), paired.Difference("accuracy", value, found, rows, is_exact=True)).passed


def promoted_by_accuracy(rows: int, *, gain: float, differ: float, histories: int = 4_000) -> float:
    """Share of histories in which a model is promoted that differs on so many of the rows."""
    shares = [(differ + gain) / 2, (differ - gain) / 2, 1 - differ]
    counts = np.random.default_rng(7).multinomial(rows, shares, histories)
    return float(np.mean([is_promoted(int(mine), int(theirs), rows) for mine, theirs, _ in counts]))


@pytest.mark.parametrize("rows", [50, 167, 1000])
@pytest.mark.parametrize("differ", [0.05, 0.1])
def test_a_model_of_equal_accuracy_is_promoted_in_one_of_40_cases_at_most(rows: int, differ: float) -> None:
    assert promoted_by_accuracy(rows, gain=0, differ=differ) <= 0.03  # and what chance adds


def test_a_model_that_is_worse_by_a_point_is_almost_never_promoted() -> None:
    assert promoted_by_accuracy(167, gain=-0.01, differ=0.1) <= 0.01  # 29 % by which accuracy is higher


@pytest.mark.parametrize("differ", [0.05, 0.1])
def test_3_points_more_of_1000_rows_are_enough(differ: float) -> None:
    assert promoted_by_accuracy(1000, gain=0.03, differ=differ) >= 0.8


def test_30_retrainings_in_which_nothing_improves_seldom_replace_the_champion() -> None:
    draw, replaced = np.random.default_rng(11), 0
    for _ in range(500):
        base = draw.random(167) < 0.82
        models = np.where(draw.random((31, 167)) < 0.1, draw.random((31, 167)) < 0.82, base)
        champion, challengers = models[0], models[1:]
        pairs = zip((challengers & ~champion).sum(axis=1), (champion & ~challengers).sum(axis=1), strict=True)
        replaced += any(is_promoted(int(mine), int(theirs), 167) for mine, theirs in pairs)
    assert replaced / 500 < 0.3  # 95 % by which accuracy is higher


def promoted(rows: int, metric: str, *, gain: float, histories: int) -> float:
    """Share of comparisons in which the first of `two_models` is promoted."""
    draw, rule = np.random.default_rng(7), Compare(metric=metric)
    pairs = (two_models(draw, rows, gain=gain) for _ in range(histories))
    found = (paired.difference(SIDES, *pair, metric, confidence=rule.confidence) for pair in pairs)
    return sum(better(rule, one).passed for one in found) / histories


@pytest.fixture
def _few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paired, "_DRAWS_OF_ONE", 800)


@pytest.mark.usefixtures("_few_draws")
@pytest.mark.parametrize("metric", ["loss", "f1", "roc_auc"])
def test_a_model_that_is_only_as_good_by_another_metric_is_seldom_promoted(metric: str) -> None:
    assert promoted(167, metric, gain=0, histories=100) <= 0.05


@pytest.mark.usefixtures("_few_draws")
@pytest.mark.parametrize("metric", ["f1", "mcc"])
def test_a_model_that_is_3_points_better_by_another_metric_is_promoted(metric: str) -> None:
    assert promoted(1000, metric, gain=0.03, histories=50) >= 0.8


@pytest.mark.long
@pytest.mark.usefixtures("_few_draws")
@pytest.mark.parametrize("rows", [50, 167, 1000])
@pytest.mark.parametrize(
    "metric", ["loss", "precision", "f1", "mcc", "balanced_accuracy", "roc_auc", "average_precision", "brier"]
)
def test_by_every_metric_and_on_few_rows_equals_are_seldom_promoted(metric: str, rows: int) -> None:
    assert promoted(rows, metric, gain=0, histories=500) <= 0.05


def refused_by_slices(*, harm: float, histories: int, parts: int = 10, rows: int = 2000) -> float:
    """Share of histories in which guards of ten parts refuse a model that is worse by `harm` in one of them."""
    rule = Register.model_validate(
        {
            "thresholds": {},
            "compare": {"metric": "accuracy"},
            "slices": [{"by": "part", "guards": {"accuracy": {}}}],
        }
    )
    draw, refused = np.random.default_rng(13), 0
    part, labels = np.arange(rows) % parts, np.zeros(rows, int)
    for _ in range(histories):
        champion = draw.random(rows) < 0.82
        challenger = np.where(draw.random(rows) < 0.1, draw.random(rows) < 0.82, champion)
        challenger &= (part > 0) | (draw.random(rows) > harm / 0.82)
        ours, theirs = (of_sides(labels, rights, np.full(rows, 0.9)) for rights in (challenger, champion))
        rivals = Rivals(SIDES, ours.with_columns(pl.Series(f"{RAW}part", part.astype(str))), theirs)
        refused += not all(check.passed for check in guarded(rule, rivals.candidate, SIDES, rivals))
    return refused / histories


def test_of_many_slices_few_refuse_a_model_that_is_as_good() -> None:
    assert refused_by_slices(harm=0, histories=50) <= 0.05


def test_a_slice_in_which_a_model_is_much_worse_refuses_it() -> None:
    assert refused_by_slices(harm=0.15, histories=20) >= 0.8


def test_a_difference_is_a_sentence() -> None:
    found = paired.Difference("accuracy", 0.012, Interval(-0.004, 0.028, 0.95), 1000, is_exact=True)
    assert str(found) == "accuracy +0.012, 95 % from -0.004 to +0.028 (1,000 rows, exact McNemar)"
    assert better(Compare(metric="accuracy"), found).reason == f"{found}: not shown to be better: the champion stays"
