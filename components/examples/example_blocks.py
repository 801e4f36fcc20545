"""From a block of the source to a sorted run of examples: all that can be done without the other blocks."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from headrace.components.examples.sorted_runs import write_run
from headrace.components.examples.table import example_table, unique_words
from headrace.components.examples.validation import CheckedPart, check_part
from headrace.components.mixing import Words
from headrace.components.schema.example_schema import ExampleSchema, RowSchema
from headrace.components.sources.source import Block, EncodedBlock

_EXACT_INTEGERS = 2.0**53  # float64 has all whole numbers up to here


@dataclass(frozen=True)
class Prepared:
    """What became of a block: a sorted run of its good rows, which is in a file, and the others.

    `counts` are the run's rows in each range of ids; `rejected` counts rows from 1, within the block.
    """

    files: tuple[str, ...]
    rows_read: int
    counts: list[int]
    rejected: pl.DataFrame
    unique: dict[str, Words]


def prepare(block: Block, run: Path, *, schema: ExampleSchema) -> Prepared:
    """Write the rows of a block as examples to `run`, and return what else is to be known of them.

    Raises RowError for a row that can't be read.
    """
    checked = _check_decoded(block, schema) if isinstance(block, EncodedBlock) else check_rows(block, schema)
    counts = write_run(example_table(checked, schema), run)
    return Prepared(
        files=tuple(dict.fromkeys(checked.raw.files.values())),
        rows_read=checked.typed.height + checked.rejected.height,
        counts=counts,
        rejected=checked.rejected,
        unique=unique_words(checked, schema),
    )


def check_rows(block: Block, schema: RowSchema) -> CheckedPart:
    """The rows of a block that fit the schema, typed, and the others; raise RowError for one that can't be read.

    Prediction reads rows by this, too: a model receives what it would have been trained on.
    """
    raw = block.read(numbers=_numbers(schema))
    checked = check_part(raw, schema)
    if not checked.rejected.height and not _may_lack_digits(raw.table):
        return checked
    # Numbers that are read as such are faster; read as text they can be reported as they are written.
    text = block.read()
    return checked if text is raw else check_part(text, schema)


def _check_decoded(block: EncodedBlock, schema: ExampleSchema) -> CheckedPart:
    raw, refused = block.decode(schema)
    checked = check_part(raw, schema)
    if not refused.height:
        return checked
    rejected = pl.concat([checked.rejected, refused]).sort("row")
    return CheckedPart(checked.raw, checked.typed, rejected)


def _may_lack_digits(table: pl.DataFrame) -> bool:
    numbers = pl.col(pl.Float64)
    largest = table.select(pl.max_horizontal(numbers.max(), -numbers.min(), 0.0)).item()
    return bool(largest >= _EXACT_INTEGERS)


def _numbers(schema: RowSchema) -> set[str]:
    """Columns that are numbers and nothing else: an id is made from what is written."""
    others = {*schema.key, *schema.group, *([schema.time.column] if schema.time else [])}
    return {name for name, feature in schema.columns.items() if feature.is_read_as_number and name not in others}
