import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.errors import DataError
from components.examples.splits import assign_split

ids_of_rows = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=50)
PINNED_SPLITS = "rreeeraerreeaeearaaeaerarrrrrrraearareee"  # second letters: r train, a validation, e test


def splits_of(ids, *, given_split=None, seed=1, validation_fraction=0.1, test_fraction=0.2) -> list[str]:
    table = pl.DataFrame({"example_id": pl.Series(ids, dtype=pl.UInt64)})
    if given_split is not None:
        table = table.with_columns(given_split=pl.Series(given_split))
    split = assign_split(
        seed=seed,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        given=given_split is not None,
    )
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
    split = assign_split(seed=3, validation_fraction=0.1, test_fraction=0.2, given=False).alias("split")
    query = table.lazy().with_columns(split).filter(pl.col("split") == "train")
    assert query.collect(engine="streaming").equals(table.with_columns(split).filter(pl.col("split") == "train"))


def test_no_rows_give_no_splits() -> None:
    assert splits_of([]) == []
