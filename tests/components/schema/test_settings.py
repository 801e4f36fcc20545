"""Settings are strict: a value is of its type or refused, never made into it."""

import importlib
import py_compile
import zipfile
from datetime import date
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError

from headrace.components.schema.settings import Settings


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


DESCRIBED = '''
from headrace.components.schema.settings import Settings

class First(Settings):
    """A class."""

    kind: str = "first"
    rate: float
    """The first rate.

    More of it."""
    other: int = 1
    "The other."

class Second(First):
    rate: float = 0.5
    other: int = 2
    """Another."""

    def method(self):
        seed: int = 1
        """No field either."""
'''


@pytest.fixture
def imported(tmp_path, monkeypatch, request):
    """The module of DESCRIBED, under a name that no other test uses, from below tmp_path."""

    def load(name: str, *, place: str = ""):
        monkeypatch.syspath_prepend(str(tmp_path / place))
        request.addfinalizer(importlib.invalidate_caches)
        return importlib.import_module(name)

    return load


def descriptions(model: type[Settings]) -> dict[str, str | None]:
    return {key: one.get("description") for key, one in model.model_json_schema()["properties"].items()}


FIRST = {"kind": None, "rate": "The first rate.\n\nMore of it.", "other": "The other."}


def test_a_docstring_below_a_field_describes_it_also_in_subclasses(tmp_path, imported):
    (tmp_path / "described_by_source.py").write_text(DESCRIBED)
    module = imported("described_by_source")
    assert descriptions(module.First) == FIRST
    assert descriptions(module.Second) == {**FIRST, "other": "Another."}


def test_docstrings_are_read_from_a_zip_file(tmp_path, imported):
    with zipfile.ZipFile(tmp_path / "code.zip", "w") as archive:
        archive.writestr("described_by_zip.py", DESCRIBED)
    assert descriptions(imported("described_by_zip", place="code.zip").First) == FIRST


def test_without_sources_there_are_no_descriptions_and_all_else_works(tmp_path, imported):
    source = tmp_path / "source.py"
    source.write_text(DESCRIBED)
    py_compile.compile(str(source), str(tmp_path / "described_by_nothing.pyc"), doraise=True)
    source.unlink()
    module = imported("described_by_nothing")
    assert module.Second().rate == 0.5
    assert descriptions(module.First) == {"kind": None, "rate": None, "other": None}
