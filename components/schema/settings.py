"""The base of every settings class: frozen, strict, and closed to names it does not know."""

import ast
import inspect
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema, to_jsonable_python

_SCALARS = ("bool", "int", "float", "str")
_DISCRIMINATORS = ("kind", "type")
_NOT_SCHEMAS = ("default", "metadata", "serialization")


def _require_no_lookalike(value: Any) -> Any:
    """Refuse what Python alone takes for an integer of a Literal: true is 1 there, and so is 1.0."""
    if isinstance(value, bool | float):
        raise ValueError("expected an integer")
    return value


def _make_strict(schema: Any, of: type[BaseModel]) -> None:
    """Make the scalars of a class's schema strict; those of the classes in it are already."""
    if isinstance(schema, dict):
        kind = schema.get("type")
        if kind in _SCALARS:
            schema["strict"] = True
        elif kind == "literal" and any(isinstance(value, int) for value in schema["expected"]):
            inner = dict(schema)
            schema.clear()
            schema.update(core_schema.no_info_before_validator_function(_require_no_lookalike, inner))
        elif kind != "model" or schema["cls"] is of:
            _make_strict([part for name, part in schema.items() if name not in _NOT_SCHEMAS], of)
    elif isinstance(schema, list | tuple):
        for part in schema:
            _make_strict(part, of)


@cache
def _docstrings(module: str) -> dict[tuple[str, str], str]:
    """Docstrings below the fields of a module's classes, by class and field; none where there is no source."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError, KeyError):  # from a .pyc file alone, built in, or not imported under this name
        return {}
    return {
        (owner.name, field.target.id): inspect.cleandoc(below.value.value)
        for owner in tree.body
        if isinstance(owner, ast.ClassDef)
        for field, below in pairwise(owner.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str)
    }


class Settings(BaseModel):
    """A frozen, range-checked piece of params.yaml; an unknown name is an error, not ignored.

    Scalars are strict: `true` is no number, `"1"` no integer; an integer is a number. A list may stand for a tuple, and
    a text for a date. The docstring below a field is its description in the JSON schema, also in subclasses.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> Any:
        """Make every scalar strict. pydantic's own `strict` would refuse lists and the text of dates as well."""
        schema = handler(source)
        _make_strict(schema, cls)
        return schema

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe each field by its docstring.

        pydantic's own `use_attribute_docstrings` reads sources when a class is made: in every process that imports
        params, most of which never ask for a description.
        """
        schema = handler(core)
        properties = handler.resolve_ref_schema(schema)["properties"]
        for name, field in cls.model_fields.items():
            found = (_docstrings(base.__module__).get((base.__name__, name)) for base in cls.__mro__)
            if description := next(filter(None, found), None):
                properties[name if name in properties else field.alias]["description"] = description
        return schema


def without_defaults(value: Any) -> Any:
    """Settings as JSON, apart from those that have their default; what distinguishes variants, `kind`, is always there.

    pydantic's `exclude_defaults` leaves it out where it is the default of its class: two losses would be the same.
    """
    match value:
        case Settings():
            fields = type(value).model_fields.items()
            chosen = {name: getattr(value, name) for name, field in fields if _is_chosen(name, field, value)}
            return without_defaults(chosen)
        case Mapping():
            return {name: without_defaults(one) for name, one in value.items()}
        case list() | tuple():
            return [without_defaults(one) for one in value]
    return to_jsonable_python(value)


def _is_chosen(name: str, field: FieldInfo, settings: Settings) -> bool:
    return name in _DISCRIMINATORS or getattr(settings, name) != field.get_default(call_default_factory=True)


def in_utc(moment: datetime) -> datetime:
    """Return the moment in UTC; one without a zone is taken to be in UTC."""
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


Fraction = Annotated[float, Field(ge=0, lt=1)]
Moment = Annotated[datetime, AfterValidator(in_utc)]
