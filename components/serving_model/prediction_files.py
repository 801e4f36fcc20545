"""Files of rows to predict, read block by block by the very readers that ingest has."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import polars as pl

from headrace.components.examples.example_blocks import check_rows
from headrace.components.schema.example_schema import RowSchema
from headrace.components.serving_model.prediction_rows import fitting, warn_of, without_limits
from headrace.components.serving_model.row_counts import Warn
from headrace.components.sources.raw_part import RowError
from headrace.components.sources.source import Block

NUMBER = "row"  # the column that has each row's number, from 1


class InputRows(NamedTuple):
    """Some rows of an input: `origin` columns that identify each, and its features in the types of examples."""

    origin: pl.DataFrame
    examples: pl.DataFrame


def read_blocks(blocks: Iterable[Block], schema: RowSchema) -> Iterator[InputRows]:
    """Yield the rows of each block: the columns of the key as they are written, and the features as examples have them.

    Raises DataError, with the line that ingest has for it, for the first row that does not fit the schema.
    """
    rows = 0
    for block in blocks:
        try:
            checked = check_rows(block, without_limits(schema))
        except RowError as error:
            raise error.after(rows) from error
        examples = fitting(checked, rows_before=rows)
        yield InputRows(checked.raw.table.select(schema.key), examples)
        rows += examples.height


def read_rows(blocks: Iterable[Block], schema: RowSchema, *, warn: Warn) -> tuple[pl.DataFrame, pl.DataFrame]:
    """All rows of `read_blocks`: key and features. What a model can live with is reported to `warn` with its count."""
    found = joined(read_blocks(blocks, schema))
    warn_of(found.examples, schema.features, warn=warn)
    return found.origin, found.examples


def joined(blocks: Iterable[InputRows]) -> InputRows:
    """All rows in one."""
    found = list(blocks)
    return InputRows(pl.concat([one.origin for one in found]), pl.concat([one.examples for one in found]))


def numbered(blocks: Iterable[InputRows]) -> Iterator[InputRows]:
    """The same rows with their number, from 1, in front of what identifies them."""
    rows = 0
    for block in blocks:
        height = block.examples.height
        numbers = pl.Series(NUMBER, range(rows + 1, rows + height + 1), dtype=pl.Int64)
        yield InputRows(pl.DataFrame([numbers]).hstack(block.origin), block.examples)
        rows += height


def in_groups(blocks: Iterable[InputRows], rows: int) -> Iterator[InputRows]:
    """The same rows in groups of `rows`, the last of which may have fewer."""
    groups = RowGroups(rows)
    for block in blocks:
        yield from groups.add(block)
    yield from groups.rest()


class RowGroups:
    """Rows that come in blocks of any length, in groups of one length: a model gives equal groups equal bits."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._waiting: list[InputRows] = []

    def add(self, block: InputRows) -> Iterator[InputRows]:
        """Yield the groups that are whole with this block."""
        start, height = 0, block.examples.height
        lacking = self._rows - sum(one.examples.height for one in self._waiting)
        while height - start >= lacking:
            yield joined([*self._waiting, _sliced(block, start, start + lacking)])
            start, lacking, self._waiting = start + lacking, self._rows, []
        if start < height:
            self._waiting.append(_sliced(block, start, height))

    def rest(self) -> Iterator[InputRows]:
        """Yield the last group, if rows are left."""
        if self._waiting:
            yield joined(self._waiting)
            self._waiting = []


def _sliced(block: InputRows, start: int, end: int) -> InputRows:
    return InputRows(block.origin[start:end], block.examples[start:end])
