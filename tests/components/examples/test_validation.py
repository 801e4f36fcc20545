import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.errors import DataError
from headrace.components.examples.validation import check_part, count_by_reason, describe, require_few_failures
from headrace.components.schema.example_schema import ExampleSchema, TimeColumn
from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.labels import CategoryLabel, NumberLabel
from headrace.components.sources.raw_part import RawPart

LABEL = CategoryLabel(name="label", classes=("no", "yes"))


def check(feature, values, *, label_values=None, label=LABEL, **settings):
    table = pl.DataFrame({"x": values, "label": ["yes"] * len(values) if label_values is None else label_values})
    part = RawPart(table, dict.fromkeys(table.columns, "rows.csv"))
    return check_part(part, ExampleSchema(features={"x": feature}, label=label, **settings))


def reasons(checked) -> dict[str, int]:
    return count_by_reason(checked.rejected.lazy())


def failures(checked) -> list[str]:
    return [describe(row) for row in checked.rejected.iter_rows(named=True)]


@pytest.mark.parametrize(
    ("feature", "value", "reason"),
    [
        (NumberFeature(), "1.5", None),
        (NumberFeature(), " -2e3 ", None),  # blanks around a number are no harm
        (NumberFeature(), "abc", "not a number"),
        (NumberFeature(), "1,5", "not a number"),
        (NumberFeature(), "NaN", "not finite"),
        (NumberFeature(), "inf", "not finite"),
        (NumberFeature(), "1e999", "not finite"),
        (NumberFeature(), None, "missing"),
        (NumberFeature(nullable=True), None, None),
        (NumberFeature(nullable=True), "?", "not a number"),
        (NumberFeature(minimum=0), "-0.0", None),
        (NumberFeature(minimum=0), "-1", "out of range"),
        (NumberFeature(minimum=0, maximum=10), "10.5", "out of range"),
        (CategoryFeature(), "anything", None),
        (CategoryFeature(), "", "missing"),  # "" is a missing category to a served model
        (CategoryFeature(), None, "missing"),
        (CategoryFeature(nullable=True), None, None),
        (CategoryFeature(nullable=True), "", None),
        (CategoryFeature(classes=("a", "b")), "a", None),
        (CategoryFeature(classes=("a", "b")), "A", "unknown class"),
        (CategoryFeature(classes=("a", "b"), nullable=True), None, None),
        (CategoryFeature(pattern="[A-Z][0-9]+|none"), "C123", None),
        (CategoryFeature(pattern="[A-Z][0-9]+|none"), "none", None),
        (CategoryFeature(pattern="[A-Z][0-9]+|none"), "C123x", "other pattern"),  # the whole text must match
        (CategoryFeature(pattern="[A-Z]", nullable=True), "", None),
        (NumberFeature(date_format="iso"), "2026-11-20", None),
        (NumberFeature(date_format="iso"), "2026-11-20T10:30:00+01:00", None),
        (NumberFeature(date_format="iso"), "2026-02-30", "not a number"),
        (NumberFeature(date_format="%d.%m.%Y"), "20.11.2026", None),
        (NumberFeature(date_format="%d.%m.%Y"), "2026-11-20", "not a number"),
    ],
)
def test_a_value_passes_or_is_counted_under_its_reason(feature, value, reason) -> None:
    checked = check(feature, pl.Series([value], dtype=pl.String))
    assert reasons(checked) == ({} if reason is None else {f"x: {reason}": 1})
    assert checked.typed.height == (reason is None)


def test_a_missing_label_is_bad() -> None:
    assert reasons(check(NumberFeature(), ["1"], label_values=[None])) == {"label: missing": 1}


def test_typed_columns_hold_null_for_missing() -> None:
    checked = check(NumberFeature(nullable=True), ["1", None])
    assert checked.typed.to_dict(as_series=False) == {"x": [1.0, None], "label": ["yes", "yes"]}


def test_a_failure_names_file_row_column_expected_and_found() -> None:
    checked = check(NumberFeature(minimum=0, maximum=120), ["3", "1.5.2"])
    assert failures(checked) == ["rows.csv, row 2, column 'x': expected a number, found '1.5.2'"]


def test_a_row_counts_once_under_its_first_wrong_value() -> None:
    checked = check(NumberFeature(), ["abc"], label_values=["perhaps"])
    assert reasons(checked) == {"x: not a number": 1}


def test_images_brighter_than_the_maximum_are_bad() -> None:
    values = pl.Series([[0, 16], [17, 0]], dtype=pl.Array(pl.UInt8, 2))
    checked = check(ImageFeature(height=1, width=2, maximum=16), values)
    assert checked.typed.height == 1
    assert failures(checked) == ["rows.csv, row 2, column 'x': expected pixels of at most 16, found pixels of up to 17"]


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (("0", "1", "2"), ["0", "2", None]),  # classes named by number: by name
        (("2", "0"), ["0", "2", None]),
        (("shirt", "shoe", "bag"), ["shirt", "bag", None]),  # else by place
    ],
)
def test_numbered_classes_get_their_names(classes, expected) -> None:
    label = CategoryLabel(name="label", classes=classes)
    labels = pl.Series([0, 2, 3], dtype=pl.UInt8)
    checked = check(NumberFeature(), ["1", "1", "1"], label_values=labels, label=label)
    assert checked.typed["label"].to_list() == [name for name in expected if name]
    assert reasons(checked) == {"label: unknown class": 1}


def test_a_missing_key_is_bad() -> None:
    checked = check(NumberFeature(nullable=True), [None, "1"], key=["x"])
    assert failures(checked) == ["rows.csv, row 1, column 'x': expected a key, found nothing"]


def test_few_failures_pass_and_more_stop_with_the_first_few() -> None:
    checked = check(NumberFeature(), ["1"] * 3 + ["a"] * 7, label=NumberLabel(name="label"), label_values=["1"] * 10)
    require_few_failures(checked.rejected, rows_rejected=7, rows_read=10, max_bad_fraction=0.7)
    with pytest.raises(DataError, match=r"7 of 10 rows do not fit[\s\S]*row 4[\s\S]*and 2 rows more"):
        require_few_failures(checked.rejected, rows_rejected=7, rows_read=10, max_bad_fraction=0.6)


@given(st.lists(st.none() | st.text(max_size=5) | st.floats().map(str), min_size=1, max_size=20))
@settings(max_examples=50, deadline=None)
def test_every_row_is_either_kept_or_counted(values) -> None:
    checked = check(NumberFeature(minimum=-10, maximum=10), pl.Series(values, dtype=pl.String))
    assert checked.typed.height + checked.rejected.height == len(values)
    assert checked.typed["x"].is_between(-10, 10).all()


@pytest.mark.parametrize(
    ("written", "days"),
    [
        ("1970-01-02", 1.0),
        ("1970-01-01T12:00:00", 0.5),
        ("1970-01-01 12:00:00.000", 0.5),
        ("1970-01-01T12:00:00Z", 0.5),
        ("1970-01-01T12:00:00+06:00", 0.25),
        ("1969-12-31", -1.0),
    ],
)
def test_a_date_becomes_days_since_1970(written, days) -> None:
    assert check(NumberFeature(date_format="iso"), [written]).typed["x"].to_list() == [days]


def test_a_row_without_a_time_or_a_group_is_bad() -> None:
    checked = check(NumberFeature(), ["1", "2"], label_values=["yes", "soon"], time=TimeColumn(column="label"))
    assert failures(checked)[0] == (
        "rows.csv, row 1, column 'label': expected a date or time as ISO 8601 has it, found 'yes'"
    )
    assert reasons(check(NumberFeature(nullable=True), [None], group=("x",))) == {"x: missing": 1}


def test_rejected_rows_show_all_that_was_read() -> None:
    [row] = check(NumberFeature(), ["1", "a"]).rejected.iter_rows(named=True)
    assert row == {
        "file": "rows.csv",
        "row": 2,
        "column": "x",
        "reason": "not a number",
        "expected": "a number",
        "found": "'a'",
        "values": '{"x":"a","label":"yes"}',
    }


def test_of_many_columns_a_row_is_reported_by_the_first_that_is_wrong_wherever_it_is():
    values = {f"x{place}": ["1", "1", "1"] for place in range(300)}
    values |= {"x5": ["?", "1", "1"], "x299": ["?", "?", "1"]}
    table = pl.DataFrame({**values, "label": ["yes"] * 3})
    part = RawPart(table, dict.fromkeys(table.columns, "rows.csv"))
    checked = check_part(part, ExampleSchema(features=dict.fromkeys(values, NumberFeature()), label=LABEL))
    assert reasons(checked) == {"x299: not a number": 1, "x5: not a number": 1}
    assert checked.rejected["row"].to_list() == [1, 2]
    assert checked.typed.height == 1
