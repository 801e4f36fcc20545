"""Settings are strict: a value is of its type or refused, never made into it."""

from datetime import date
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError

from headrace.components.settings import Settings


class Inner(Settings):
    rates: tuple[Annotated[float, Field(gt=0)], ...] = ()


class Example(Settings):
    count: Annotated[int, Field(ge=1)] = 1
    rate: float | None = None
    is_on: bool = False
    name: str = ""
    channels: Literal[1, 3, 4] = 1
    mode: Literal["a", 2] = "a"
    day: date | None = None
    by_name: dict[str, int | str | None] = Field(default={})
    inner: Inner = Inner()


TAKEN = [
    ({"count": 3, "rate": 2}, Example(count=3, rate=2.0)),
    ({"day": "2026-02-28"}, Example(day=date(2026, 2, 28))),
    ({"inner": {"rates": [1, 0.5]}}, Example(inner=Inner(rates=(1.0, 0.5)))),
    ({"by_name": {"a": 1, "b": "1", "c": None}}, Example(by_name={"a": 1, "b": "1", "c": None})),
    ({"channels": 3, "mode": 2}, Example(channels=3, mode=2)),
]
REFUSED = [
    *({"count": value} for value in (True, "1", 1.0, 1.5, None)),
    *({"rate": value} for value in (True, "0.5", "nan", float("nan"), float("inf"))),
    *({"is_on": value} for value in (1, 0, "true", "yes", "on")),
    *({"name": value} for value in (1, True, 1.5)),
    *({"channels": value} for value in (True, "1", 1.0, 2)),
    {"mode": 2.0},
    {"day": "2026-02-30"},
    {"by_name": {"a": True}},
    {"inner": {"rates": [True]}},
    {"inner": {"rates": "1"}},
    {"other": 1},
]


@pytest.mark.parametrize(("given", "expected"), TAKEN)
def test_values_of_their_type_are_taken(given, expected):
    assert Example.model_validate(given) == expected


@pytest.mark.parametrize("given", REFUSED, ids=map(str, REFUSED))
def test_values_of_another_type_are_refused(given):
    with pytest.raises(ValidationError):
        Example.model_validate(given)


def scalars(schema: Any) -> list[dict[str, Any]]:
    if isinstance(schema, dict):
        own = [schema] if schema.get("type") in ("bool", "int", "float", "str") else []
        parts = [part for name, part in schema.items() if name not in ("default", "metadata", "serialization")]
        return own + scalars(parts)
    return [found for part in schema for found in scalars(part)] if isinstance(schema, list | tuple) else []


def test_every_scalar_of_params_yaml_is_strict():
    from headrace.pipelines.params import Pipeline

    found = scalars(Pipeline.__pydantic_core_schema__)
    assert len(found) > 100
    assert [schema for schema in found if not schema.get("strict")] == []
