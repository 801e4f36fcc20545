"""Rows to predict, checked as ingest checks them: the same values, and the same refusals."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from headrace.components.errors import DataError
from headrace.components.examples.validation import CheckedPart, check_part, describe
from headrace.components.schema.decoding import ImageError, pixels_of
from headrace.components.schema.example_schema import RowSchema
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.features import Feature
from headrace.components.serving_model.row_counts import RowCounts, Warn
from headrace.components.sources.raw_part import RawPart, require_columns


def rows_of(values: Iterable[Mapping[str, Any]], features: Mapping[str, Feature], *, warn: Warn) -> pl.DataFrame:
    """Return rows that stand in params.yaml, in the types of example rows; derived features may stand there as such."""
    examples = typed_rows(values, features)
    warn_of(examples, features, warn=warn)
    return examples


def typed_rows(
    values: Iterable[Mapping[str, Any]], features: Mapping[str, Feature], *, rows_before: int = 0
) -> pl.DataFrame:
    """`rows_of` without its warnings, of rows that `rows_before` others come before."""
    rows = list(values)
    given = {name for row in rows for name in row}
    columns = dict.fromkeys(
        one for name, feature in features.items() for one in ((name,) if name in given else feature.read_from(name))
    )
    require_columns(list(columns), [sorted(given)], files="the rows")
    # As text, as ingest has what is written in JSON.
    table = pl.DataFrame(
        {name: [_text(row.get(name)) for row in rows] for name in columns}, dict.fromkeys(columns, pl.String)
    )
    part = RawPart(table, dict.fromkeys(columns, "the rows"))
    return fitting(check_part(part, without_limits(RowSchema(features=dict(features)))), rows_before=rows_before)


def without_limits(schema: RowSchema) -> RowSchema:
    """Return the schema without what a model can live without: ranges, patterns and classes."""
    return schema.model_copy(update={"features": {name: one.without_limits() for name, one in schema.features.items()}})


def fitting(checked: CheckedPart, *, rows_before: int = 0) -> pl.DataFrame:
    """Return the typed rows; raise DataError, with the line that ingest has for it, if one does not fit the schema."""
    if checked.rejected.is_empty():
        return checked.typed
    first, others = checked.rejected.row(0, named=True), checked.rejected.height - 1
    more = f"; {others} more rows do not fit either" if others else ""
    raise DataError(describe({**first, "row": first["row"] + rows_before}) + more)


def warn_of(examples: pl.DataFrame, features: Mapping[str, Feature], *, warn: Warn) -> None:
    """Report, with its count, what a model can live with: numbers out of range, other patterns, empty columns."""
    counts = RowCounts()
    counts.add(examples, features)
    counts.report(warn)


def image_rows(table: pl.DataFrame, *, name: str, feature: ImageFeature) -> pl.DataFrame:
    """Return the pixels of a column of images, which are encoded or lists; raise DataError for anything else."""
    require_columns([name], [table.columns], files="the table")
    values = table[name]
    try:
        pixels = pixels_of(values, feature)
        return pixels.cast(pl.Array(pl.UInt8, feature.size)).to_frame()
    except ImageError as error:
        raise DataError(f"column {name!r}: {error}") from error
    except pl.exceptions.PolarsError as error:
        shape = " x ".join(map(str, feature.shape))
        raise DataError(
            f"column {name!r} has type {values.dtype}; expected lists of {feature.size} ({shape}) whole numbers "
            f"from 0 to {feature.maximum}. Images in files: give the file, or their folder, as the input"
        ) from error


def as_known(examples: pl.DataFrame, known: Mapping[str, frozenset[str]], *, warn: Warn) -> pl.DataFrame:
    """The examples, with categories written as the model knows them; `warn` receives those that it doesn't know.

    A whole number that the model only knows in its other form is taken for that, as `RowCounts.as_known` does.
    """
    counts = RowCounts()
    found = counts.as_known(examples, known)
    counts.report(warn)
    return found


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)
