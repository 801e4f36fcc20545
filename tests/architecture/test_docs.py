"""docs/params.md against the settings classes: every key, what it may be, its default, and examples that work.

The heading of a section ends with its class's name. The class is the truth: where a test fails, it shows the columns
that the page must have.
"""

import json
import re
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from headrace.components.models.classifier_settings import Classifier
from headrace.pipelines.params import Pipeline, list_pipelines, load_pipeline

HEADING = re.compile(r"^#+ .*\(`(\w+)`\)$", re.MULTILINE)
ROW = re.compile(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \|$", re.MULTILINE)
EXAMPLE = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)

WORDS: dict[Any, str] = {int: "integer", float: "number", str: "text", bool: "`true` or `false`", type(None): "`null`"}
WORDS |= {date: "date", datetime: "time"}
SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "min_length": "length >=", "max_length": "length <="}


def settings_classes(annotation: Any = Pipeline) -> Iterator[type[BaseModel]]:
    """Every settings class that params.yaml is read into, from the outermost inwards, some more than once."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from settings_classes(field.annotation)
    for inner in get_args(annotation):
        yield from settings_classes(inner)


CLASSES = {one.__name__: one for one in settings_classes(Pipeline | Classifier)}


def expected_rows(settings: type[BaseModel]) -> list[tuple[str, str, str]]:
    """Name, values and default of each key; a pipeline's name is not a key."""
    fields = {name: field for name, field in settings.model_fields.items() if (settings, name) != (Pipeline, "name")}
    return [
        (field.alias or name, values(field.annotation) + limits(field.metadata), default(name, field))
        for name, field in fields.items()
    ]


def values(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        metadata = [one for given in inner[1:] for one in (given.metadata if isinstance(given, FieldInfo) else [given])]
        return values(inner[0]) + limits(metadata)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(values, inner)))
    if origin is tuple:
        return f"list of {values(inner[0])}"
    if origin is dict:
        return f"{values(inner[1])} by name"
    return WORDS.get(annotation, "section")


def limits(metadata: Iterable[Any]) -> str:
    found = [
        f"{sign} {number(getattr(one, key))}" for one in metadata for key, sign in SIGNS.items() if hasattr(one, key)
    ]
    found += [f"matching `{one.pattern}`" for one in metadata if getattr(one, "pattern", None)]
    return f", {', '.join(found)}" if found else ""


def number(value: float) -> str:
    is_large_power = isinstance(value, int) and value > 100_000 and value.bit_count() == 1
    return f"2^{value.bit_length() - 1}" if is_large_power else str(value)


def default(name: str, field: FieldInfo) -> str:
    if field.is_required() or name in ("kind", "type"):  # by these a union's members are told apart
        return "required"
    return "its own defaults" if isinstance(field.default, BaseModel) else f"`{json.dumps(field.default, default=str)}`"


@pytest.fixture(scope="module")
def sections(repository: Path) -> dict[str, str]:
    """What docs/params.md says under each heading that ends with a class's name."""
    _, *parts = HEADING.split((repository / "docs" / "params.md").read_text(encoding="utf-8"))
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_section_is_documented_and_no_other(sections):
    assert set(sections) == set(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
def test_every_key_is_documented_with_its_values_and_default(sections, name):
    documented = {row[0]: row[1:] for row in ROW.findall(sections[name])}
    expected = expected_rows(CLASSES[name])
    assert [(key, *columns[:2]) for key, columns in documented.items()] == expected
    assert [key for key, columns in documented.items() if not columns[2]] == [], "keys without a meaning"


@pytest.mark.parametrize("name", sorted(set(CLASSES) - {"Pipeline"}))
def test_every_example_is_valid(sections, name):
    examples = EXAMPLE.findall(sections[name])
    assert examples, f"no example for {name}"
    for example in examples:
        CLASSES[name].model_validate(yaml.safe_load(example))


def test_the_example_of_a_whole_pipeline_is_valid(sections, tmp_path):
    (example,) = EXAMPLE.findall(sections["Pipeline"])
    file = tmp_path / "params.yaml"
    file.write_text(example, encoding="utf-8")
    for name in list_pipelines(file):
        assert load_pipeline(file, name).name == name
