from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace.components.errors import DataError
from headrace.components.examples.splits import assign_split
from headrace.components.schema.split_settings import Split

ids_of_rows = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=50)
PINNED_SPLITS = "rreeeraerreeaeearaaeaerarrrrrrraearareee"  # second letters: r train, a validation, e test


def splits_of(ids, *, given_split=None, seed=1, validation_fraction=0.1, test_fraction=0.2) -> list[str]:
    table = pl.DataFrame({"example_id": pl.Series(ids, dtype=pl.UInt64)})
    if given_split is not None:
        table = table.with_columns(given_split=pl.Series(given_split))
    settings = Split(seed=seed, validation_fraction=validation_fraction, test_fraction=test_fraction)
    split = assign_split(settings, columns=table.columns)
    return table.select(split.alias("split"))["split"].to_list()


def test_splits_never_change_between_versions() -> None:
    letters = "".join(split[1] for split in splits_of(range(40), test_fraction=0.3, validation_fraction=0.3))
    assert letters == PINNED_SPLITS


@pytest.mark.parametrize(
    ("validation_fraction", "test_fraction"),
    [(0.1, 0.2), (0.0, 0.2), (0.1, 0.0), (0.0, 0.0), (0.33, 0.66)],
)
def test_shares_are_the_fractions_within_sampling_error(validation_fraction, test_fraction) -> None:
    n = 100_000
    splits = np.array(splits_of(range(n), validation_fraction=validation_fraction, test_fraction=test_fraction))
    for split, share in (("validation", validation_fraction), ("test", test_fraction)):
        five_deviations = 5 * np.sqrt(share * (1 - share) / n)
        assert abs((splits == split).mean() - share) <= five_deviations


@given(ids_of_rows, ids_of_rows, st.integers(0, 2**63 - 1))
@settings(max_examples=50, deadline=None)
def test_adding_rows_never_moves_a_row(ids, more, seed) -> None:
    assert splits_of(more + ids, seed=seed)[len(more) :] == splits_of(ids, seed=seed)


def test_another_seed_draws_another_split() -> None:
    assert splits_of(range(200), seed=1) != splits_of(range(200), seed=2)


def test_the_test_set_does_not_depend_on_the_validation_fraction() -> None:
    few, many = (splits_of(range(1000), validation_fraction=fraction) for fraction in (0.05, 0.4))
    assert [split == "test" for split in few] == [split == "test" for split in many]


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.sampled_from(["train", "test"])), min_size=1, max_size=50))
@settings(max_examples=50, deadline=None)
def test_a_given_test_set_stays_the_test_set(rows) -> None:
    ids, given_split = zip(*rows, strict=True)
    splits = splits_of(ids, given_split=given_split, test_fraction=0.0, validation_fraction=0.5)
    assert [split == "test" for split in splits] == [split == "test" for split in given_split]


def test_a_second_test_set_beside_a_given_one_is_refused() -> None:
    with pytest.raises(DataError, match=r"test_fraction is 0\.2, but the source gives its own test set"):
        splits_of([1], given_split=["train"], test_fraction=0.2)


def test_the_streaming_engine_gives_the_same_splits() -> None:
    table = pl.DataFrame({"example_id": pl.int_range(300_000, dtype=pl.UInt64, eager=True)})
    split = assign_split(Split(seed=3, validation_fraction=0.1, test_fraction=0.2), columns=table.columns).alias(
        "split"
    )
    query = table.lazy().with_columns(split).filter(pl.col("split") == "train")
    assert query.collect(engine="streaming").equals(table.with_columns(split).filter(pl.col("split") == "train"))


def test_no_rows_give_no_splits() -> None:
    assert splits_of([]) == []


@given(ids_of_rows, st.integers(0, 2**63 - 1), st.sampled_from([2, 3, 5, 7]))
@settings(max_examples=50, deadline=None)
def test_every_row_is_tested_in_exactly_one_fold(ids, seed, folds) -> None:
    table = pl.DataFrame({"example_id": pl.Series(ids, dtype=pl.UInt64)})
    tested = np.zeros(len(ids))
    for fold in range(folds):
        split = Split(seed=seed, validation_fraction=0.1, test_fraction=1 / folds, fold=fold)
        tested += table.select(assign_split(split, columns=table.columns)).to_series().to_numpy() == "test"
    assert tested.tolist() == [1] * len(ids)


def test_a_fold_of_its_own_keeps_the_shares_and_the_first_is_what_there_was_without_folds() -> None:
    table = pl.DataFrame({"example_id": pl.Series(range(50_000), dtype=pl.UInt64)})
    for fold in range(5):
        split = Split(seed=1, validation_fraction=0.1, test_fraction=0.2, fold=fold)
        names = table.select(assign_split(split, columns=table.columns)).to_series().cast(pl.String)
        assert abs((names == "test").mean() - 0.2) < 0.01
        assert abs((names == "validation").mean() - 0.1) < 0.01
        assert (names.to_list() == splits_of(range(50_000))) == (fold == 0)


def test_no_row_is_in_the_test_split_of_two_generations() -> None:
    table = pl.DataFrame({"example_id": pl.Series(range(10_000), dtype=pl.UInt64)})
    tested = np.zeros(table.height)
    for generation in range(5):
        split = Split(seed=1, validation_fraction=0.1, test_fraction=0.2, test_generation=generation)
        names = table.select(assign_split(split, columns=table.columns)).to_series().cast(pl.String)
        tested += (names == "test").to_numpy()
        assert (names.to_list() == splits_of(range(10_000))) == (generation == 0)
    assert set(tested) == {1}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"held_out": "none", "test_fraction": 0.2}, "leave test_fraction out"),
        ({"held_out": "none", "validation_fraction": 0.0}, "leave validation_fraction out"),
        ({"held_out": "test", "validation_fraction": 0.1}, "nothing is validated on"),
        ({"validation_fraction": 0.1, "test_fraction": 0.2, "fold": 5}, r"no fold 5 of test_fraction 0\.2"),
        ({"validation_fraction": 0.1, "fold": 1}, "no fold 1 of test_fraction 0"),
        ({"validation_fraction": 0.1, "test_generation": 1}, "another share of test_fraction, which is 0"),
        (
            {"validation_fraction": 0.1, "test_fraction": 0.2, "test_generation": 5},
            r"test_generation 5: all rows were in a test split of 0\.2 before",
        ),
    ],
)
def test_contradictions_are_refused(settings, words) -> None:
    with pytest.raises(ValidationError, match=words):
        Split(**settings)


def test_nothing_held_out_sends_every_row_to_training() -> None:
    split = Split(held_out="none")
    table = pl.DataFrame({"example_id": pl.Series(range(100), dtype=pl.UInt64)})
    assert set(table.select(assign_split(split, columns=table.columns)).to_series()) == {"train"}
    assert (split.measured_on, split.names_held_out) == ("train", ())
    assert Split(held_out="test", test_fraction=0.2).names_held_out == ("test",)


def test_a_row_at_the_very_moment_belongs_to_what_begins_there() -> None:
    begins = {"validation_from": datetime(2026, 1, 1, tzinfo=UTC), "test_from": datetime(2026, 2, 1, tzinfo=UTC)}
    moments = [moment + step for moment in begins.values() for step in (-timedelta(microseconds=1), timedelta())]
    table = pl.DataFrame({"example_id": pl.Series(range(4), dtype=pl.UInt64), "time": moments})
    split = assign_split(Split(**begins), columns=table.columns)
    assert table.select(split.alias("split"))["split"].to_list() == ["train", "validation", "validation", "test"]


def test_the_rows_of_a_group_are_in_one_split() -> None:
    groups = np.repeat(np.arange(40, dtype=np.uint64), 5)
    table = pl.DataFrame({"example_id": np.arange(200, dtype=np.uint64), "group_id": groups})
    split = assign_split(Split(seed=1, validation_fraction=0.3, test_fraction=0.3), columns=table.columns)
    found = table.with_columns(split=split).group_by("group_id").agg(pl.col("split").n_unique())
    assert found["split"].to_list() == [1] * 40
