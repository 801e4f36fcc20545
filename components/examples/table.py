"""The example table: one typed row per example, each with its id."""

from collections.abc import Sequence

import polars as pl

from components.errors import DataError
from components.examples.identity import example_ids
from components.examples.validation import CheckedPart


def example_table(parts: Sequence[CheckedPart], *, key: Sequence[str] = ()) -> pl.DataFrame:
    """Return `example_id` UInt64, the typed columns and, where a part has one, `given_split`; sorted by example_id.

    The id is a digest of the `key` columns as they were read or, without a key, of all typed columns. Raises DataError
    if two rows have the same key, or if only some parts have a given split.
    """
    if len({part.raw.given_split is None for part in parts}) > 1:
        raise DataError("ingest.source.parts: give given_split for all parts or for none")
    table = pl.concat([_identified(part, key) for part in parts])
    if key:
        _require_unique(table, parts, key)
    return table.sort("example_id", maintain_order=True)


def _identified(part: CheckedPart, key: Sequence[str]) -> pl.DataFrame:
    source, columns = (part.raw.table, key) if key else (part.typed, part.typed.columns)
    ids = pl.Series("example_id", example_ids(source, columns=columns))
    table = part.typed.select(ids, pl.all())
    if part.raw.given_split is None:
        return table
    return table.with_columns(pl.lit(part.raw.given_split).alias("given_split"))


def _require_unique(table: pl.DataFrame, parts: Sequence[CheckedPart], key: Sequence[str]) -> None:
    repeated = table["example_id"].is_duplicated()
    if not repeated.any():
        return
    keys = pl.concat([part.raw.table.select(key) for part in parts]).filter(repeated)
    first = ", ".join(f"{name} = {value}" for name, value in keys.row(0, named=True).items())
    raise DataError(f"ingest.key: {keys.height} rows share their key with another; the first has {first}")
