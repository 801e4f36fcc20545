"""Rows below a table that are no examples."""

import polars as pl
import pytest

from headrace.components.guess.columns import guess_table

ROWS = 240


def table(last: dict[str, str | None] | None, **more: list[str]) -> pl.DataFrame:
    rows = {"x": [str(row % 7) for row in range(ROWS)], "z": [f"{row % 11}.5" for row in range(ROWS)]}
    rows |= {"c": ["ab"[row % 2] for row in range(ROWS)], "y": ["rot" if row % 3 else "blau" for row in range(ROWS)]}
    above = pl.DataFrame(rows | more)
    return above if last is None else pl.concat([above, pl.DataFrame([last])], how="diagonal_relaxed")


@pytest.mark.parametrize(
    "last",
    [
        {"x": "719", "z": "1310.0", "y": "Summe"},
        {"x": "Total", "z": "1310.0", "y": "rot"},
        {"c": "Grand Total:", "z": "9", "x": "9", "y": "rot"},
        {"c": "Average", "z": "9", "x": "9", "y": None},
    ],
)
def test_a_row_of_totals_is_said_and_rejected(last) -> None:
    guess = guess_table(table(last), targets=["y"])
    assert guess.ingest["label"]["classes"] == ["blau", "rot"]
    assert set(guess.ingest["features"]) == {"x", "z", "c"}
    assert guess.rows == ROWS
    assert guess.ingest["max_bad_fraction"] == 0.0042
    assert any(f"row {ROWS + 1} of {ROWS + 1} looks like a total" in one for one in guess.warnings)
    assert any("ingest will reject it" in one for one in guess.warnings)


def test_sums_that_nothing_names_are_said_too() -> None:
    whole = table(None)
    sums = {name: str(whole[name].cast(pl.Float64).sum()) for name in "xz"}
    [warning] = guess_table(table(sums | {"c": "a", "y": "rot"}), targets=["y"]).warnings
    assert warning.endswith(
        "(each number is the sum of those above): ingest can't distinguish it from an example, so delete it"
    )


def test_a_class_that_is_called_so_is_none() -> None:
    names = ["Total" if row % 2 else "Part" for row in range(ROWS)]
    guess = guess_table(table({"x": "1", "z": "2", "c": "a", "y": "rot", "k": "Total"}, k=names), targets=["y"])
    assert (guess.rows, guess.warnings) == (ROWS + 1, ())
