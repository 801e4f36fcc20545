"""The profile of a table of examples."""

import io

import numpy as np
import polars as pl
import pytest
from PIL import Image

from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.statistics.profile import Bar, Profile, profile, profile_of, summarize_table


def profile_one(values, feature, *, dtype=None):
    return profile(pl.LazyFrame({"x": pl.Series(values, dtype=dtype)}), features={"x": feature})["x"]


def test_a_number_has_range_mean_missing_share_and_a_histogram_of_every_value():
    found = profile_one([0.0, 24.0, None, 12.0], NumberFeature(nullable=True))
    assert (found.minimum, found.maximum, found.mean, found.missing_fraction) == (0, 24, 12, 0.25)
    assert len(found.bars) == 24
    assert [index for index, bar in enumerate(found.bars) if bar.count] == [0, 12, 23]  # the maximum is in the last


def test_deciles_are_near_the_true_ones_and_their_counts_are_of_all_values():
    values = np.random.default_rng(1).gamma(2, 5, 10_000)
    found = profile_one(values, NumberFeature())
    np.testing.assert_allclose(found.deciles, np.quantile(values, np.arange(1, 10) / 10), rtol=2**-6)
    assert sum(found.decile_counts) == 10_000
    assert min(found.decile_counts) > 900


def test_bars_are_no_narrower_than_the_sketch_can_distinguish_values():
    found = profile_one(np.random.default_rng(1).normal(1013, 8, 10_000), NumberFeature())
    counts = [bar.count for bar in found.bars]
    assert len(counts) < 24
    assert all(counts)


def test_categories_are_counted_the_most_frequent_first_and_the_rest_together():
    names = [f"c{index:02d}" for index in range(15)]
    found = profile_one([*names, "c07", None, ""], CategoryFeature())
    assert (found.categories, found.missing) == (15, 2)
    assert found.shown_bars()[:2] == (Bar(label="c07", count=2), Bar(label="c00", count=1))
    assert found.shown_bars()[-1] == Bar(label="all others", count=3)


def test_many_and_long_texts_leave_a_profile_small():
    texts = [f"text {number}" for number in range(9_999)]
    many = profile_one([*texts, "x" * 1_000_000, "x" * 1_000_000], CategoryFeature())
    assert (many.categories, many.others) == (10_000, 10_001 - len(many.bars))
    more = profile_one([*texts, "a", "b"], CategoryFeature())
    assert (more.categories, more.bars, more.others) == (None, (), 10_001)
    assert len(many.model_dump_json()) < 20_000


def test_an_image_has_the_range_and_mean_of_its_pixels():
    found = profile_one([[0, 8], [16, 0]], ImageFeature(height=1, width=2), dtype=pl.Array(pl.UInt8, 2))
    assert (found.type, found.minimum, found.maximum, found.mean) == ("image", 0, 16, 6)
    assert [bar.count for bar in found.bars] == [3, 1, *[0] * 14]


@pytest.mark.parametrize("values", [[None, None], []])
def test_columns_without_a_single_value_are_no_trouble(values):
    number = profile_one(values, NumberFeature(), dtype=pl.Float64)
    assert (number.mean, number.missing, number.bars) == (None, len(values), ())
    word = profile_one(values, CategoryFeature(), dtype=pl.String)
    assert (word.categories, word.bars) == (0, ())


def test_a_constant_and_values_beyond_float32_are_no_trouble():
    assert profile_one([3.0, 3.0], NumberFeature()).bars[0].count == 2
    huge = profile_one([1e39, -1e39, 2.0], NumberFeature())
    assert (huge.mean, huge.maximum) == (2.0, float(np.finfo(np.float32).max))


def test_a_profile_of_parts_is_that_of_the_whole_and_comes_back_from_json():
    table = pl.DataFrame({"x": [1.0, None, 3.0], "c": ["a", "b", "a"]})
    columns = {"x": NumberFeature(nullable=True), "c": CategoryFeature()}
    parts = [summarize_table(part, columns=columns) for part in (table[2:], table[:2])]
    found = profile_of(parts[0].merge(parts[1]))
    assert found == profile_of(summarize_table(table, columns=columns))
    assert Profile.model_validate_json(found.model_dump_json()) == found


def test_of_many_encoded_images_some_are_decoded_the_same_however_they_are_divided(monkeypatch):
    monkeypatch.setattr("headrace.components.statistics.profile._DECODED_IMAGES", 8)
    columns = {"photo": ImageFeature(height=1, width=2, encoding="encoded")}
    files = []
    for number in range(40):
        Image.fromarray(np.full((1, 2), number, np.uint8)).save(buffer := io.BytesIO(), "PNG")
        files.append(buffer.getvalue())
    table = pl.DataFrame({"example_id": pl.Series(range(40), dtype=pl.UInt64), "photo": files})
    found = profile(table.lazy(), features=columns)["photo"]
    assert (found.rows, found.minimum, found.maximum, found.mean) == (40, 0, 36, 18)
    parts = [summarize_table(part, columns=columns, decoded_of=6) for part in (table[:7], table[7:])]
    assert profile_of(parts[0].merge(parts[1])).columns["photo"] == found
