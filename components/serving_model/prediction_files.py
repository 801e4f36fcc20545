"""Files of rows to predict, read by the very readers that ingest has."""

from collections.abc import Iterable

import polars as pl

from headrace.components.examples.example_blocks import check_rows
from headrace.components.schema.example_schema import RowSchema
from headrace.components.serving_model.prediction_rows import Warn, fitting, warn_of, without_limits
from headrace.components.sources.raw_part import RowError
from headrace.components.sources.source import Block


def read_rows(blocks: Iterable[Block], schema: RowSchema, *, warn: Warn) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the columns of the key as they are written, and the features in the types of example rows.

    Raises DataError, with the line that ingest has for it, for the first row that does not fit the schema. What a model
    can live with is reported to `warn` with its count.
    """
    keys, typed, rows = [], [], 0
    for block in blocks:
        try:
            checked = check_rows(block, without_limits(schema))
        except RowError as error:
            raise error.after(rows) from error
        typed.append(fitting(checked, rows_before=rows))
        keys.append(checked.raw.table.select(schema.key))
        rows += typed[-1].height
    examples = pl.concat(typed)
    warn_of(examples, schema.features, warn=warn)
    return pl.concat(keys), examples
