"""From a block of the source to a sorted run of examples: all that can be done without the other blocks."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from headrace.components.examples.mixing import Words
from headrace.components.examples.settings import ExampleSchema, NumberFeature, RowSchema
from headrace.components.examples.sorted_runs import write_run
from headrace.components.examples.table import example_table, unique_words
from headrace.components.examples.validation import REJECTED, CheckedPart, check_part
from headrace.components.sources.delimited import DelimitedBlock, read_delimited_block
from headrace.components.sources.images import ImageBlock, decode_block
from headrace.components.sources.json_lines import JsonBlock, read_json_block
from headrace.components.sources.raw_part import RawPart
from headrace.components.sources.text import TextBlock, read_text_block

RowBlock = DelimitedBlock | JsonBlock | TextBlock | RawPart
Block = RowBlock | ImageBlock
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
    checked = _check_images(block, schema) if isinstance(block, ImageBlock) else check_rows(block, schema)
    counts = write_run(example_table(checked, schema), run)
    return Prepared(
        files=tuple(dict.fromkeys(checked.raw.files.values())),
        rows_read=checked.typed.height + checked.rejected.height,
        counts=counts,
        rejected=checked.rejected,
        unique=unique_words(checked, schema),
    )


def read(block: Block, *, numbers: Collection[str] = ()) -> RawPart:
    """Return the rows of a block, all text as it is written, but as Float64 what is in `numbers` if it can be.

    Of images, it is all but the images themselves.
    """
    match block:
        case RawPart():
            return block
        case DelimitedBlock():
            return read_delimited_block(block, numbers=numbers)
        case JsonBlock():
            return read_json_block(block, numbers=numbers)
        case TextBlock():
            return read_text_block(block)
        case ImageBlock():
            return RawPart(block.rows, dict.fromkeys(block.rows.columns, block.archive), block.given_split)


def check_rows(block: RowBlock, schema: RowSchema) -> CheckedPart:
    """Return the rows of a block that fit the schema, typed, and the others; raise RowError for one that can't be read.

    Prediction reads rows by this, too: a model receives what it would have been trained on.
    """
    if isinstance(block, RawPart):
        return check_part(block, schema)
    raw = read(block, numbers=_numbers(schema))
    checked = check_part(raw, schema)
    # Numbers that are read as such are faster; read as text they can be reported as they are written.
    return check_part(read(block), schema) if checked.rejected.height or _may_lack_digits(raw.table) else checked


def _check_images(block: ImageBlock, schema: ExampleSchema) -> CheckedPart:
    raw, refused = decode_block(block, schema)
    checked = check_part(raw, schema)
    if not refused.height:
        return checked
    rows = block.rows[(refused["row"] - block.first).to_list()]
    reported = refused.with_columns(
        column=pl.lit(next(iter(schema.features))),
        values=rows.select(pl.struct(pl.all()).struct.json_encode()).to_series(),
    )
    rejected = pl.concat([checked.rejected, reported.select(*REJECTED)]).sort("row")
    return CheckedPart(checked.raw, checked.typed, rejected)


def _may_lack_digits(table: pl.DataFrame) -> bool:
    numbers = pl.col(pl.Float64)
    largest = table.select(pl.max_horizontal(numbers.max(), -numbers.min(), 0.0)).item()
    return bool(largest >= _EXACT_INTEGERS)


def _numbers(schema: RowSchema) -> set[str]:
    """Columns that are numbers and nothing else: an id is made from what is written."""
    others = {*schema.key, *schema.group, *([schema.time.column] if schema.time else [])}
    return {
        name
        for name, feature in schema.columns.items()
        if isinstance(feature, NumberFeature) and name not in others
        if feature.date_format is None and feature.number_format is None
    }
