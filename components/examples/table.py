"""The example table: one typed row per example, each with its id."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from headrace.components.errors import DataError
from headrace.components.examples.identity import example_ids
from headrace.components.examples.validation import CheckedPart
from headrace.components.mixing import Words
from headrace.components.schema.example_schema import ExampleSchema
from headrace.components.schema.numbers import as_number
from headrace.components.schema.times import parse_time


def example_table(part: CheckedPart, schema: ExampleSchema) -> pl.DataFrame:
    """Return the columns of `schema.arrow_schema`, sorted by `example_id`; equal ids keep the order of the rows.

    The id is a digest of the key columns as they were read or, without a key, of all typed columns.
    """
    raw, typed = part.raw.table, part.typed
    content = example_ids(typed, columns=typed.columns)
    ids = {"example_id": example_ids(raw, columns=schema.key) if schema.key else content}
    if schema.key:
        ids["content_id"] = content
    if schema.group:
        ids["group_id"] = example_ids(raw, columns=schema.group)
    table = typed.select(
        *(pl.Series(name, words) for name, words in ids.items()), *_time(raw, schema), *_weight(raw, schema), pl.all()
    )
    if part.raw.given_split is not None:
        table = table.with_columns(pl.lit(part.raw.given_split).alias("given_split"))
    return _sorted(table)


def unique_words(part: CheckedPart, schema: ExampleSchema) -> dict[str, Words]:
    """Return uint64[n] for each column whose values must differ: a digest of each value, without missing ones."""
    return {
        name: example_ids(part.typed.select(pl.col(name).drop_nulls()), columns=[name])
        for name in schema.unique_columns
    }


def repeated_words(words: np.ndarray[tuple[int], np.dtype[np.uint64]], *, at_once: int = 1 << 24) -> Words:
    """Return those of uint64[n] that occur more than once, sorted, sorting no more than about `at_once` of them."""
    passes = max(1, -(-len(words) // at_once))
    found = []
    for number in range(passes):
        some = words[words % np.uint64(passes) == number]
        values, counts = np.unique(some, return_counts=True)
        found.append(values[counts > 1])
    return np.sort(np.concatenate(found))


def merge_examples(found: pa.Table, *, repeated: str, duplicates: str) -> tuple[pl.DataFrame, int]:
    """Return the examples sorted by id, and how many were left out.

    Rows of one id keep their order. Of those, `repeated` or, without a key, `duplicates` says which stay.
    """
    if not any(pa.types.is_large_binary(field.type) for field in found.schema):  # files: a sort does not move those
        found = found.combine_chunks()  # one chunk is sorted in 0.7 of the time of many
    table = _sorted(pl.DataFrame(pl.from_arrow(found)))
    policy = repeated if "content_id" in table.columns else duplicates
    if policy == "keep":
        return table, 0
    if policy == "refuse":
        ids = table["example_id"]
        again = table.filter(ids.is_duplicated())
        if again.height:
            raise RepeatedError(again["example_id"].unique().sort()[:3].to_list(), again.height)
        return table, 0
    kept = table.unique("example_id", keep="last" if policy == "last" else "first", maintain_order=True)
    return kept, table.height - kept.height


def _sorted(table: pl.DataFrame) -> pl.DataFrame:
    """The table sorted by id; equal ids keep the order of their rows."""
    ids = table["example_id"].to_numpy()
    order = np.argsort(ids)  # faster than Polars's, which could keep that order
    ordered = ids[order]
    if (ordered[1:] == ordered[:-1]).any():
        return table.sort("example_id", maintain_order=True)
    return table[order]


class RepeatedError(DataError):
    """Rows that share their id with another: the first few ids, and how many rows."""

    def __init__(self, ids: Sequence[int], rows: int) -> None:
        super().__init__(ids, rows)
        self.ids, self.rows = ids, rows

    def __str__(self) -> str:
        return f"{self.rows} rows have the same key or content as another"


def _time(raw: pl.DataFrame, schema: ExampleSchema) -> list[pl.Series]:
    if schema.time is None:
        return []
    text = pl.col(schema.time.column).cast(pl.String)
    return [raw.select(time=parse_time(text, schema.time.date_format)).to_series()]


def _weight(raw: pl.DataFrame, schema: ExampleSchema) -> list[pl.Series]:
    if (name := schema.sample_weight) is None:
        return []
    weight = as_number(pl.col(name), raw.schema[name], None).cast(pl.Float64)
    return [raw.select(sample_weight=weight).to_series()]
