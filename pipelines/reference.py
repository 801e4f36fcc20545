"""The keys of settings classes: their JSON schema, with the meaning of each key, and what it may be in words."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

Schema = dict[str, Any]

_WORDS = {"boolean": "`true` or `false`", "null": "`null`", "string": "text", "date-time": "time"}
_LIMITS = {
    "minimum": ">= {}",
    "exclusiveMinimum": "> {}",
    "maximum": "<= {}",
    "exclusiveMaximum": "< {}",
    **{f"min{what}": "length >= {}" for what in ("Length", "Items", "Properties")},
    **{f"max{what}": "length <= {}" for what in ("Length", "Items", "Properties")},
    "pattern": "matching `{}`",
}


def definitions(*models: type[BaseModel]) -> dict[str, Schema]:
    """JSON schema of these settings classes and of all that they consist of, by the name of the class."""
    _, schema = models_json_schema([(model, "validation") for model in models])
    found: dict[str, Schema] = schema["$defs"]
    return found


def values(schema: Schema) -> str:
    """Valid values of a key, in words such as `integer, >= 1, <= 64`."""
    if choices := schema.get("enum", [schema["const"]] if "const" in schema else []):
        return ", ".join(f"`{choice}`" if choice != "" else '`""`' for choice in choices)
    if members := schema.get("anyOf", schema.get("oneOf")):
        return " or ".join(dict.fromkeys(map(values, members)))
    limits = [text.format(_shown(schema[key])) for key, text in _LIMITS.items() if key in schema]
    return ", ".join([_type(schema), *limits])


def _type(schema: Schema) -> str:
    if "$ref" in schema:
        return "section"
    if not schema.keys() & {"type", "format", "items"}:
        return "any value"
    if "items" in schema:
        return f"list of {values(schema['items'])}"
    if schema["type"] == "object":
        (inner,) = schema.get("patternProperties", {"": schema.get("additionalProperties")}).values()
        return f"{values(inner)} by name"
    name = str(schema.get("format", schema["type"]))
    return _WORDS.get(name, name)


def _shown(limit: float | str) -> str:
    if isinstance(limit, int) and limit > 100_000 and limit.bit_count() == 1:
        return f"2^{limit.bit_length() - 1}"
    return str(limit)
