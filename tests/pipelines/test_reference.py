"""What a key may be, in words, from the type and the limits of its field."""

from datetime import date, datetime
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from headrace.components.schema.settings import Settings
from headrace.pipelines.reference import definitions, values


class Inner(Settings):
    rate: float = 0.1
    """The rate."""


class Outer(Settings):
    inner: Inner
    others: dict[str, Inner] = Field(default={})


def words(annotation: Any) -> str:
    made = type("Made", (Settings,), {"__annotations__": {"key": annotation}, "__module__": __name__})
    return values(definitions(made)["Made"]["properties"]["key"])


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (bool, "`true` or `false`"),
        (str, "text"),
        (date, "date"),
        (datetime, "time"),
        (float | None, "number or `null`"),
        (Annotated[int, Field(ge=1, le=64)], "integer, >= 1, <= 64"),
        (Annotated[int, Field(ge=0, lt=2**63)], "integer, >= 0, < 2^63"),
        (Annotated[float, Field(gt=0, le=131_072)], "number, > 0, <= 2^17"),
        (Annotated[str, Field(min_length=1, max_length=2)], "text, length >= 1, length <= 2"),
        (Annotated[str, Field(pattern="^a|b$")], "text, matching `^a|b$`"),
        (Literal["a", "b"], "`a`, `b`"),
        (Literal["", 1], '`""`, `1`'),
        (Literal["one"], "`one`"),
        (Inner, "section"),
        (int | Inner | None, "integer or section or `null`"),
        (Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)], "list of integer, >= 0, length >= 1"),
        (Annotated[dict[str, Inner], Field(min_length=2)], "section by name, length >= 2"),
        (dict[Annotated[str, Field(pattern="^a")], dict[str, int | None]], "integer or `null` by name by name"),
    ],
)
def test_what_a_key_may_be(annotation, expected):
    assert words(annotation) == expected


def test_all_classes_of_a_class_are_defined_with_the_meaning_of_each_key():
    found = definitions(Outer)
    assert sorted(found) == ["Inner", "Outer"]
    assert found["Inner"]["properties"]["rate"]["description"] == "The rate."
    assert "description" not in found["Outer"]["properties"]["inner"]
