import polars as pl
import pytest

from headrace.components.errors import DataError
from headrace.components.guess.columns import guess_table
from headrace.components.guess.texts import as_numbers, date_formats

ROWS = 60


def column(*values: str | None) -> list[str | None]:
    """The values over and over, in as many rows as every table here has."""
    return [values[row % len(values)] for row in range(ROWS)]


def guessed(
    values: list[str | None], *, name: str = "x", target: list[str | None] | None = None, is_whole: bool = True
):
    """The guess for one column, beside one of numbers and the target y."""
    target = target or column("no", "no", "yes")
    table = pl.DataFrame(
        {name: values, "z": column("0.5", "7", "1e3", "-2"), "y": target}, schema_overrides={name: pl.String}
    )
    return guess_table(table, targets=["y"], is_whole=is_whole)


def different(pattern: str) -> list[str]:
    return [pattern.format(row) for row in range(ROWS)]


NUMBER = {"type": "number"}
# values, feature: None where the column is left out
COLUMNS = [
    (column("1.5", "2", " 3 ", "+4e2"), NUMBER),
    (column("1", "2", None), {**NUMBER, "nullable": True}),  # two codes are as informative as a number
    (column("0", "1"), NUMBER),
    (column("1", "2", "3"), {"type": "category", "classes": ["1", "2", "3"]}),
    (column("10", "9", "3"), {"type": "category", "classes": ["3", "9", "10"]}),
    (column("1", "01", "2"), NUMBER),  # the same number, written in two ways
    (column("1", "2", "3", "4", "5", "6"), NUMBER),
    (column("0.5", "2", "NA", "?"), {**NUMBER, "nullable": True}),
    (column("b", "a", None), {"type": "category", "nullable": True, "classes": ["a", "b"]}),
    (column("b", "a", "NA"), {"type": "category", "classes": ["NA", "a", "b"]}),  # a word among words
    ([*column("b", "a")[:-1], "c"], {"type": "category"}),  # once only: others will come
    (column(*(f"word {number}" for number in range(25))), {"type": "category"}),
    (column(*(f"{day:02}.11.2026" for day in range(1, 31))), {**NUMBER, "date_format": "%d.%m.%Y"}),
    (column("2026-11-20", "2026-11-21T10:30:00Z", "-"), {**NUMBER, "nullable": True, "date_format": "iso"}),
    (column("11/30/2026", "1/2/2026"), {**NUMBER, "date_format": "%m/%d/%Y"}),
    (column("30/11/2026", "1/2/2026"), {**NUMBER, "date_format": "%d/%m/%Y"}),
    (different("{}.5"), NUMBER),
    (different("19{:02}"), NUMBER),  # different years are no ids
    (different("{}"), None),
    (different("name of {}"), None),
    ([*different("{}.5")[:-1], "12 apples"], None),
    (column("x"), None),
    (column(None), None),
    (column("inf", "1", "2"), {"type": "category", "classes": ["1", "2", "inf"]}),
    (column("a", "a", "b"), None),  # it is the target, in other words
]


@pytest.mark.parametrize(("values", "feature"), COLUMNS)
def test_a_column_is_what_its_texts_are(values, feature) -> None:
    assert guessed(values).ingest["features"].get("x") == feature


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (different("{}"), "an id"),
        (different("name of {}"), "text: 60 different in 60 rows, such as 'name of 0'"),
        ([*different("{}.5")[:-1], "12 apples"], "numbers but for 1 texts such as '12 apples'"),
        (column("x"), "the same in all rows: 'x'"),
        (column(None), "nothing in it"),
        (column("a", "a", "b"), "determines 'y'"),
    ],
)
def test_why_a_column_is_left_out_is_said(values, why) -> None:
    [finding] = [one for one in guessed(values).findings if one.name == "x"]
    assert not finding.is_used
    assert why in finding.why


@pytest.mark.parametrize("name", ["a/b", "example_id", "label", "assigned_split"])
def test_a_name_that_is_refused_elsewhere_is_left_out(name) -> None:
    assert list(guessed(column("1.5", "2"), name=name).ingest["features"]) == ["z"]


@pytest.mark.parametrize("values", [different("{}"), different("9{}7"), different("a9{:x}")])
def test_an_id_by_name_is_the_key(values) -> None:
    assert guessed(values, name="PassengerId").ingest["key"] == ["PassengerId"]
    assert "key" not in guessed(values, name="paid").ingest
    assert "key" not in guessed(values, name="PassengerId", is_whole=False).ingest


def test_of_the_first_rows_only_nothing_is_taken_for_all_there_is() -> None:
    features = guessed(column("a", "b"), is_whole=False).ingest["features"]
    assert features == {"x": {"type": "category", "nullable": True}, "z": {"type": "number", "nullable": True}}


# target, label, share of the most frequent class
TARGETS = [
    (column("no", "yes", "no"), {"type": "category", "name": "y", "classes": ["no", "yes"]}, 2 / 3),
    (column("1", "0"), {"type": "category", "name": "y", "classes": ["0", "1"]}, 0.5),
    (column("1.0", "0.0"), {"type": "category", "name": "y", "classes": ["0.0", "1.0"]}, 0.5),
    (column("0.5", "2"), {"type": "number", "name": "y"}, None),
    (column(*map(str, range(11))), {"type": "number", "name": "y"}, None),
    (column("none", "some", "many"), {"type": "category", "name": "y", "classes": ["many", "none", "some"]}, 1 / 3),
]


@pytest.mark.parametrize(("target", "label", "share"), TARGETS)
def test_a_target_is_a_category_or_a_number(target, label, share) -> None:
    guess = guessed(column("none", "1.5", "2"), target=target)  # "none" is missing here, but not where it is a class
    assert guess.ingest["label"] == label
    assert guess.most_frequent == share


def test_rows_without_a_target_are_left_out() -> None:
    guess = guessed(column("1.5", "2"), target=[*column("a", "b")[:-3], None, None, None])
    assert (guess.rows, guess.ingest["max_bad_fraction"]) == (57, 0.0501)
    assert "3 rows without it" in guess.findings[0].why


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (column("a"), "'y' is 'a' in all rows"),
        (column("a", None, None), "missing in 40 of 60 rows"),
        (different("word {}"), "neither a number nor a class: 60 different texts in 60 rows, such as 'word 0'"),
        ([*different("{}.5")[:-1], "12 apples"], "such as '12 apples'"),
    ],
)
def test_a_target_that_can_t_be_learned_is_refused(target, message) -> None:
    with pytest.raises(DataError, match=message):
        guessed(column("1.5", "2"), target=target)


def test_a_table_with_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(DataError, match=r"no column to learn 'y' from.*x: the same in all rows"):
        guess_table(pl.DataFrame({"x": column("1"), "y": column("a", "b")}), targets=["y"])


def test_fewer_rows_than_a_split_needs_are_refused() -> None:
    with pytest.raises(DataError, match="at least 10 rows with a 'y', found 9"):
        guess_table(pl.DataFrame({"x": column("1", "2")[:9], "y": column("a", "b")[:9]}), targets=["y"])


def test_texts_are_numbers_as_ingest_takes_them() -> None:
    texts = pl.Series(["1", " 2.5 ", "1e3", "-.5", "nan", "inf", "1,5", "0x1", "", "12345678901234567890", "1_000"])
    assert as_numbers(texts).to_list() == [1, 2.5, 1000, -0.5, *[None] * 7]
    assert date_formats(pl.Series(["2026-11-20", "20.11.2026"])) == ()
