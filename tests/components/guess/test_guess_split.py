from dataclasses import replace

import polars as pl
import pytest

from headrace.components.examples.splits import assign_split
from headrace.components.examples.table import example_table
from headrace.components.examples.validation import check_part
from headrace.components.guess.columns import guess_table
from headrace.components.guess.findings import Guess
from headrace.components.guess.split import guess_split
from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.schema.split_settings import Split
from headrace.components.sources.raw_part import RawPart


def guess(rows: int, *, rare: int) -> Guess:
    """The guess for a table of which so many rows are of the class `rare`."""
    label = ["rare" if row < rare else "often" for row in range(rows)]
    return guess_table(pl.DataFrame({"x": [f"{row * row}.5" for row in range(rows)], "y": label}), targets=["y"])


@pytest.mark.parametrize("rows", [12, 20, 30, 60])
def test_each_split_of_a_small_table_has_rows_and_training_has_every_class(rows) -> None:
    found = guess(rows, rare=2)
    split = guess_split(found, given_test=False)
    schema = ExampleSchema.model_validate(found.ingest)
    table = example_table(check_part(RawPart(found.table, dict.fromkeys(found.table.columns, "x")), schema), schema)
    assigned = table.select("y", split=assign_split(Split.model_validate(split), columns=table.columns))
    counts = dict(assigned.group_by("split").len().iter_rows())
    assert counts["validation"] >= max(1, split["validation_fraction"] * rows / 2)
    assert counts["test"] >= max(1, split["test_fraction"] * rows / 2)
    assert set(assigned.filter(pl.col("split") == "train")["y"]) == {"rare", "often"}


def test_some_of_them_need_another_seed_than_the_first() -> None:
    assert {guess_split(guess(rows, rare=2), given_test=False)["seed"] for rows in (12, 20, 30, 60)} != {1}


def test_a_given_test_set_leaves_no_share_to_be_taken() -> None:
    assert guess_split(guess(30, rare=9), given_test=True) == {"seed": 1, "validation_fraction": 0.2}


def test_of_many_rows_less_is_held_out() -> None:
    many = replace(guess(30, rare=9), rows=10_000, table=None)
    assert guess_split(many, given_test=False) == {"seed": 1, "validation_fraction": 0.1, "test_fraction": 0.1}
