"""The trigger form of a pipeline's DAG: what of its section of params.yaml a user may change for one run.

What that is, `headrace.pipelines.run_overrides` says; all else is refused here, and again where the values are applied.
A field's name is its place in the section, such as `train.optimizer.learning_rate`. Its type, range and choices are
those of the settings classes, its default is what params.yaml says.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from airflow.sdk import Param
from pydantic import BaseModel

from headrace.components.errors import ParamsError
from headrace.components.nearest_name import nearest
from headrace.pipelines.params import Pipeline
from headrace.pipelines.project.edit_params import with_values
from headrace.pipelines.reference import Schema, definitions, values
from headrace.pipelines.run_overrides import SECTIONS, Leaf, closed, is_open, require_open

OVERRIDES = "overrides"

_NUMBERS = ("integer", "number", "boolean")
_NOT_LIMITS = ("default", "title", "description")
_OTHER_PLACES = 'Other places of these sections, such as {"train.optimizer.kind": "sgd"}.'


class _Field(NamedTuple):
    """One value of a pipeline's section: where it is, what it is, what it may be, and which key of which class."""

    place: str
    value: Any
    schema: Schema
    owner: type[BaseModel]
    key: str


def run_params(pipeline: Pipeline) -> dict[str, Param]:
    """Fields of the form: each number, switch and choice, by section, and `overrides` for the rest."""
    params = {}
    for field in _fields(pipeline):
        section = field.place.partition(".")[0]
        params[field.place] = Param(
            field.value, description_md=_description(field.owner, field.key), section=section, **field.schema
        )
    params[OVERRIDES] = Param({}, description_md=_OTHER_PLACES, section=OVERRIDES, type="object")
    return params


@cache
def _description(owner: type[BaseModel], key: str) -> str:
    """The key's meaning and valid values; the purpose of its class, where an installation has no sources to read."""
    schema = _properties(owner)[key]
    meaning = schema.get("description") or (owner.__doc__ or "").partition("\n")[0]
    return f"{meaning} ({values(schema)})"


def overrides_of(pipeline: Pipeline, params: Mapping[str, Any], conf: Mapping[str, Any]) -> dict[str, Any]:
    """Changes of params.yaml for a run, by place: fields of the form that its `conf` sets, and `overrides`.

    Raises ParamsError for a key of `conf` that is in no form, which Airflow lets pass. It also does for a place that is
    not there or that a run can't change, and for values that are not allowed, alone or together.
    """
    present = {field.place: field.value for field in _fields(pipeline)}
    requested = dict(params.get(OVERRIDES) or {})
    for place in [*conf, *requested]:
        section = place.partition(".")[0]
        if place != OVERRIDES and section in Pipeline.model_fields and section not in SECTIONS:
            raise closed(f"conf: {place}")
    for key in conf:
        if key not in present and key != OVERRIDES:
            raise ParamsError(f"conf: unknown key {key!r}{nearest(key, [*present, OVERRIDES])}")
    requested = {place: params[place] for place in conf if place != OVERRIDES} | requested
    changed = {place: value for place, value in requested.items() if place not in present or value != present[place]}
    require_open(pipeline, with_values(pipeline, changed))
    return changed


def _fields(pipeline: Pipeline) -> Iterator[_Field]:
    """Every number, switch and choice that a run may change, in the order of the classes."""
    for key, (name, _) in _sections().items():
        yield from _below(getattr(pipeline, name), {}, _Field(key, None, {}, Pipeline, key))


def _below(value: Any, schema: Schema, at: _Field) -> Iterator[_Field]:
    prefix = f"{at.place}." if at.place else ""
    if isinstance(value, BaseModel):
        owner = type(value)
        properties = _properties(owner)
        for name, field in owner.model_fields.items():
            key = field.alias or name
            below = _Field(f"{prefix}{key}", None, {}, owner, key)
            yield from _below(getattr(value, name), properties[key], below)
    elif isinstance(value, dict | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for part, item in items:
            if "." not in str(part):  # else its place would be read as two names
                yield from _below(item, _item(schema), at._replace(place=f"{prefix}{part}"))
    elif is_open(Leaf(at.place, value, at.owner, at.key)) and (choice := _choice(schema)):
        yield at._replace(value=value, schema=choice)


def _sections() -> dict[str, tuple[str, Any]]:
    """Attribute of Pipeline and class of each section that a run may change."""
    fields = {field.alias or name: (name, field.annotation) for name, field in Pipeline.model_fields.items()}
    return {key: field for key, field in fields.items() if key in SECTIONS}


def _properties(owner: type[BaseModel]) -> dict[str, Schema]:
    """The JSON schema of each key of a settings class."""
    properties: dict[str, Schema] = _definitions()[owner.__name__]["properties"]
    return properties


@cache
def _definitions() -> dict[str, Schema]:
    """JSON schema of these sections, made once, because it takes a tenth of a second."""
    return definitions(*(model for _, model in _sections().values()))


def _item(schema: Schema) -> Schema:
    """The schema of what a list holds, or a section with names of the user's choice."""
    return next((one[key] for one in _members(schema) for key in ("items", "additionalProperties") if key in one), {})


def _choice(schema: Schema) -> Schema | None:
    """The schema as a form can show it; None for free text, and where there is nothing to choose."""
    members = _members(schema)
    if any(one == {"type": "string"} for one in members):
        return None  # a number that may as well be free text
    null = [None] if {"type": "null"} in members else []
    for one in members:
        kind = [one.get("type"), "null"] if null else one.get("type")
        choices = [*one.get("enum", [one["const"]] if "const" in one else []), *null]
        if len(choices) > 1:
            return {"type": kind, "enum": choices}
        if one.get("type") in _NUMBERS:
            return {**{key: limit for key, limit in one.items() if key not in _NOT_LIMITS}, "type": kind}
    return None


def _members(schema: Schema) -> list[Schema]:
    """Members of a union, or the schema itself."""
    members: list[Schema] = schema.get("anyOf") or schema.get("oneOf") or [schema]
    return members
