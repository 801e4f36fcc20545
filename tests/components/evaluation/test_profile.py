"""The profile of a table of examples."""

import polars as pl

from components.evaluation.profile import Bar, profile
from components.examples.settings import CategoryFeature, ImageFeature, NumberFeature


def test_a_number_has_range_mean_missing_share_and_a_histogram_of_every_value() -> None:
    (found,) = profile(pl.LazyFrame({"age": [0.0, 24.0, None, 12.0]}), features={"age": NumberFeature(nullable=True)})

    assert (found.minimum, found.maximum, found.mean, found.missing_fraction) == (0, 24, 12, 0.25)
    assert len(found.bars) == 24
    assert [index for index, bar in enumerate(found.bars) if bar.count] == [0, 12, 23]  # the maximum is in the last


def test_categories_are_counted_the_most_frequent_first_and_the_rest_together() -> None:
    names = [f"c{index:02d}" for index in range(15)]
    (found,) = profile(pl.LazyFrame({"c": [*names, "c07", None]}), features={"c": CategoryFeature()})

    assert found.categories == 15
    assert found.bars[:2] == (Bar("c07", 2), Bar("c00", 1))
    assert found.bars[-1] == Bar("3 others", 3)


def test_an_image_has_the_range_and_mean_of_its_pixels() -> None:
    pixels = pl.Series([[0, 8], [16, 0]], dtype=pl.Array(pl.UInt8, 2))
    (found,) = profile(pl.LazyFrame({"image": pixels}), features={"image": ImageFeature(height=1, width=2)})

    assert (found.type, found.minimum, found.maximum, found.mean) == ("image", 0, 16, 6)


def test_columns_without_a_single_value_or_with_one_are_no_trouble() -> None:
    table = pl.LazyFrame(
        {"none": [None, None], "same": [3.0, 3.0], "word": [None, None]},
        schema_overrides={"none": pl.Float64, "word": pl.String},
    )
    none, same, word = profile(
        table, features={"none": NumberFeature(), "same": NumberFeature(), "word": CategoryFeature()}
    )

    assert (none.mean, none.missing_fraction, none.bars) == (None, 1, ())
    assert same.bars[0].count == 2
    assert (word.categories, word.bars) == (0, ())
