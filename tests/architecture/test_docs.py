"""docs/params.md against the settings classes: tables as they are written from the classes, and examples that work."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from headrace.components.models.classifier_settings import Classifier
from headrace.pipelines.params import Pipeline, list_pipelines, load_pipeline
from infra.params_page import DEFINITIONS, HEADING, with_tables

EXAMPLE = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def settings_classes(annotation: Any, *, within: tuple[Any, ...] = ()) -> Iterator[type[BaseModel]]:
    """Every settings class that params.yaml is read into, from the outermost inwards, some more than once."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in within:
        yield annotation
        for field in annotation.model_fields.values():
            yield from settings_classes(field.annotation, within=(*within, annotation))  # layers hold layers
    for inner in get_args(annotation):
        yield from settings_classes(inner, within=within)


CLASSES = {one.__name__: one for one in settings_classes(Pipeline | Classifier)}


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "params.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def sections(page: str) -> dict[str, str]:
    """What docs/params.md says under each heading that ends with a class's name."""
    _, *parts = HEADING.split(page)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_class_has_one_section_and_no_other_has(page):
    assert set(DEFINITIONS) == set(CLASSES)
    assert sorted(HEADING.findall(page)) == sorted(CLASSES)


def test_tables_are_those_that_the_settings_classes_give(page):
    assert page == with_tables(page), "make pages"


def test_a_section_without_a_table_gets_one_and_text_stays():
    page = "# Title\n\nBefore.\n\n## Splits (`Split`)\n\nText.\n"
    written = with_tables(page)
    lines = written.splitlines()
    assert [line for line in lines if not line.startswith("|")] == [
        "# Title",
        "",
        "Before.",
        "",
        *lines[4:6],
        "",
        "Text.",
    ]
    assert lines[6:8] == ["| key | values | default | meaning |", "|---|---|---|---|"]
    assert lines[8] == "| `seed` | integer, >= 0, < 2^63 | `0` | Seed of the split: another seed draws another split. |"
    assert with_tables(written) == written


@pytest.mark.parametrize("name", CLASSES)
def test_every_field_has_a_docstring_of_whole_sentences(name):
    for key, schema in DEFINITIONS[name]["properties"].items():
        if "const" not in schema:
            meaning = schema.get("description", "")
            assert re.match(r"[A-Z`\d].*\.$", meaning, re.DOTALL), f"{name}.{key}: {meaning!r}"


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
