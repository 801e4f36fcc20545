"""Features made of other columns, in ingest and in prediction alike."""

import polars as pl
import pytest
from pydantic import ValidationError

from headrace.components.examples.validation import check_part
from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.labels import NumberLabel
from headrace.components.serving_model.prediction_rows import rows_of
from headrace.components.sources.raw_part import RawPart

FEATURES = {
    "title": CategoryFeature(column="Name", extract=r", ([^.]+)\."),
    "deck": CategoryFeature(column="Cabin", extract="^([A-G])", nullable=True),
    "port": CategoryFeature(column="Embarked"),
    "family": NumberFeature(sum_of=("SibSp", "Parch")),
}
RAW = pl.DataFrame(
    {
        "Name": ["Braund, Mr. Owen Harris", "Cumings, Mrs. John (Florence)", "Rothes, the Countess. of (Lucy)"],
        "Cabin": [None, "C85", "T"],
        "Embarked": ["S", "C", "S"],
        "SibSp": ["1", "1", "0"],
        "Parch": ["0", "2", "0"],
    }
)
MADE = {
    "title": ["Mr", "Mrs", "the Countess"],
    "deck": [None, "C", None],
    "port": ["S", "C", "S"],
    "family": [1.0, 3.0, 0.0],
}


def test_ingest_makes_them_and_asks_the_source_for_what_they_are_made_of():
    schema = ExampleSchema(features=FEATURES, label=NumberLabel(name="age"))
    assert schema.source_columns == ("Name", "Cabin", "Embarked", "SibSp", "Parch", "age")
    table = RAW.with_columns(age=pl.Series(["22", "38", "33"]))
    checked = check_part(RawPart(table, dict.fromkeys(table.columns, "a.csv")), schema)
    assert checked.rejected.is_empty()
    assert checked.typed.drop("age").to_dict(as_series=False) == MADE


def test_a_row_without_a_part_that_must_be_there_is_reported_with_its_file():
    schema = ExampleSchema(features={"title": FEATURES["title"]}, label=NumberLabel(name="age"))
    table = pl.DataFrame({"Name": ["nobody"], "age": ["3"]})
    rejected = check_part(RawPart(table, dict.fromkeys(table.columns, "a.csv")), schema).rejected
    assert rejected.select("file", "column", "reason").rows() == [("a.csv", "title", "missing")]


def test_prediction_makes_them_of_raw_rows_and_takes_them_as_they_are():
    made = rows_of(RAW.to_dicts(), FEATURES, warn=pytest.fail)
    assert made.to_dict(as_series=False) == MADE
    assert rows_of(made.to_dicts(), FEATURES, warn=pytest.fail).equals(made)


def test_a_sum_with_a_part_missing_is_missing():
    rows = [{"SibSp": 1, "Parch": 2}, {"SibSp": None, "Parch": 3}]
    features = {"family": NumberFeature(sum_of=("SibSp", "Parch"), nullable=True)}
    assert rows_of(rows, features, warn=pytest.fail)["family"].to_list() == [3.0, None]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: CategoryFeature(extract="(a)"), "extract needs column"),
        (lambda: CategoryFeature(column="a", extract="ab"), "one group"),
        (lambda: CategoryFeature(column="a", extract="(a"), "not a regular expression"),
        (lambda: NumberFeature(sum_of=("a",)), "at least 2"),
        (lambda: NumberFeature(sum_of=("a", "b"), date_format="iso"), "can't be added up"),
    ],
)
def test_what_can_not_be_derived_is_refused(make, words):
    with pytest.raises(ValidationError, match=words):
        make()


def test_a_part_of_a_sum_keeps_all_its_digits_or_is_refused():
    features = {"family": NumberFeature(sum_of=("SibSp", "Parch"))}
    for value in ("9007199254740993", 2**53 + 1):
        table = pl.DataFrame({"SibSp": [value], "Parch": [value], "age": ["3"]})
        part = RawPart(table, dict.fromkeys(table.columns, "a.csv"))
        rejected = check_part(part, ExampleSchema(features=features, label=NumberLabel(name="age"))).rejected
        assert rejected.select("column", "reason").rows() == [("SibSp", "too many digits")]
