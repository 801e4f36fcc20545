"""The mistakes in params.yaml, each on one line that a user can act on."""

import difflib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from headrace.components.nearest_name import nearest
from headrace.components.printable import printable
from headrace.components.redaction import redacted

MAX_SHOWN_CHARACTERS = 200

# Tags of values that may be a plain number or a section; they stand nowhere in the file.
KINDS_OF_VALUE = ("(number)", "(range)", "(layers)", "(file)", "(section)")


def explain(params_file: Path, pipeline: str, error: ValidationError, *, model: type[BaseModel]) -> list[str]:
    """One line per mistake: its place, what was expected, what was found, and the nearest valid name."""
    lines = []
    for problem in error.errors():
        if problem["type"] == "missing" and _is_misspelt(problem, error):
            continue  # the misspelt name has a line of its own
        place = ".".join(str(part) for part in (pipeline, *problem["loc"]) if part not in KINDS_OF_VALUE)
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            valid = _names_at(model, problem["loc"][:-1])
            message = f"unknown name{nearest(str(problem['loc'][-1]), valid)}"
        elif problem["type"] == "union_tag_invalid":
            context = problem["ctx"]
            valid = [tag.strip("' ") for tag in context["expected_tags"].split(",")]
            message = f"unknown {context['discriminator']} {context['tag']!r}{nearest(context['tag'], valid)}"
        elif not isinstance(problem["input"], dict):
            message = f"{message}, found {shown(problem['input'])}"
        message = message[0].lower() + message[1:]
        lines.append(printable(f"{params_file.name}: {place}: {message}"))
    return lines


def shown(value: Any) -> str:
    """The value that was found, without secrets and then shortened: half an address may be half a password."""
    text = redacted(repr(value))
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}..."


def _is_misspelt(missing: ErrorDetails, error: ValidationError) -> bool:
    """Whether a name that is missing stands there with a typo."""
    unknown = [str(one["loc"][-1]) for one in error.errors() if _is_unknown_beside(one, missing)]
    return bool(difflib.get_close_matches(str(missing["loc"][-1]), unknown, n=1, cutoff=0.5))


def _is_unknown_beside(problem: ErrorDetails, other: ErrorDetails) -> bool:
    return problem["type"] == "extra_forbidden" and problem["loc"][:-1] == other["loc"][:-1]


def _names_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The names that are valid at a place of params.yaml; union members appear in `location` by their tag."""
    models: list[type[BaseModel]] = [model]
    for part in location:
        models = [inner for outer in models for inner in _models_below(outer, part)] or models
    return sorted({field.alias or name for found in models for name, field in found.model_fields.items()})


def _models_below(model: type[BaseModel], part: int | str) -> list[type[BaseModel]]:
    for name, field in model.model_fields.items():
        if part in (name, field.alias):
            return _models_in(field.annotation)
    return [model] if part in _tags(model) else []


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Every settings class inside an annotation such as dict[str, A | B]."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in getattr(annotation, "__args__", ()) for found in _models_in(inner)]


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    """The values of a settings class's `kind` or `type`, by which a union distinguishes its members."""
    return tuple(
        value
        for name in ("kind", "type")
        if name in model.model_fields
        for value in getattr(model.model_fields[name].annotation, "__args__", ())
    )
