"""The base of every settings class: frozen, strict, and closed to names it does not know."""

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import core_schema

_SCALARS = ("bool", "int", "float", "str")
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


class Settings(BaseModel):
    """A frozen, range-checked piece of params.yaml; an unknown name is an error, not ignored.

    Scalars are strict: `true` is no number, `"1"` no integer; an integer is a number. A list may stand for a tuple, and
    a text for a date.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> Any:
        """Make every scalar strict. pydantic's own `strict` would refuse lists and the text of dates as well."""
        schema = handler(source)
        _make_strict(schema, cls)
        return schema


def in_utc(moment: datetime) -> datetime:
    """Return the moment in UTC; one without a zone is taken to be in UTC."""
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
