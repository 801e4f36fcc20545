"""What a model's inputs are called where other programs call it."""

import keyword
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.components.serving_model.input_names import input_names

COLUMNS = [
    (["speed", "Sepal_Length", "_x1"], ["speed", "Sepal_Length", "_x1"]),
    (["Preis (€)", "a: b", "c#d", "x[1]"], ["Preis", "a_b", "c_d", "x_1"]),
    (["größe {m}", "it's", '"q"', "tab\there"], ["grosse_m", "it_s", "q", "tab_here"]),
    (["a b", "a_b", "a-b"], ["a_b_2", "a_b", "a_b_3"]),  # what is a name already keeps it
    (["", "(€)", "한국어", "😀"], ["input", "input_2", "input_3", "input_4"]),
    (["1a", "class", "self", "output_0"], ["input_1a", "input_class", "input_self", "input_output_0"]),
    (["Speed", "speed"], ["Speed", "speed_2"]),  # graphs know no case
    (["x" * 300, "x" * 301], ["x" * 64, "x" * 56 + "_2"]),
]


@pytest.mark.parametrize(("columns", "names"), COLUMNS)
def test_a_column_is_called_what_is_left_of_its_name(columns, names) -> None:
    assert list(input_names(columns).values()) == names


@given(st.lists(st.text(max_size=80), unique=True, max_size=8))
@example(["a b", "a_b", "a_b_2", "A B"])
def test_names_are_clean_and_no_two_alike(columns) -> None:
    names = input_names(columns)
    assert list(names) == columns
    assert len({name.casefold() for name in names.values()}) == len(columns)
    for name in names.values():
        assert re.fullmatch("[A-Za-z_][A-Za-z0-9_]{0,63}", name)
        assert not keyword.iskeyword(name)
    assert input_names(list(names.values())) == {name: name for name in names.values()}
