"""What the training rows of one shard are like: the part of fitting that is done for each shard, wherever it lies."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from headrace.components.examples.settings import Feature, NumberFeature, TextFeature
from headrace.components.examples.shards import scan_files
from headrace.components.examples.sketch import count_in_bins
from headrace.components.examples.split_settings import Split
from headrace.components.examples.splits import assign_split
from headrace.components.examples.summary import (
    Summary,
    TableSummary,
    present_numbers,
    summarize_categories,
    summarize_numbers,
)
from headrace.components.transforms.apply import raw_values, transformed
from headrace.components.transforms.fit_column import Requested
from headrace.components.transforms.fitted_transforms import Fitted
from headrace.components.transforms.token_counts import summarize_tokens

MOST_CATEGORIES = 100_000
MOST_TOKENS = 5_000_000  # about a gigabyte


@dataclass(frozen=True)
class Column:
    """A column, the transforms it has gone through so far, and what is asked of the values then."""

    feature: Feature
    fitted: tuple[Fitted, ...]
    asked: Requested


def summarize_shard(file: Path | bytes, *, split: Split, columns: Mapping[str, Column]) -> TableSummary:
    """Return what is asked of the training rows of one Parquet shard: a path, or what is in the file."""
    values = {name: _values(name, column) for name, column in columns.items()}
    table = _training_rows(file, split=split, values=values)
    return TableSummary(table.height, {name: _summary(table[name], column) for name, column in columns.items()})


def count_shard(file: Path | bytes, *, split: Split, bins: Mapping[str, Collection[int]]) -> dict[str, dict[int, int]]:
    """Return, for each of some numbers, the counts by value within some bins of its sketch, of one shard."""
    values = {name: raw_values(name, NumberFeature()) for name in bins}
    table = _training_rows(file, split=split, values=values)
    return {name: count_in_bins(present_numbers(table[name]), places) for name, places in bins.items()}


def _training_rows(file: Path | bytes, *, split: Split, values: Mapping[str, pl.Expr]) -> pl.DataFrame:
    """`values` of the training rows, after a column that is there even if nothing else is asked."""
    rows = scan_files(file)
    is_training = assign_split(split, columns=rows.collect_schema().names()) == "train"
    expressions = [expression.alias(name) for name, expression in values.items()]
    return rows.filter(is_training).select("example_id", *expressions).collect(engine="streaming")


def _values(name: str, column: Column) -> pl.Expr:
    values = raw_values(name, column.feature)
    for transform in column.fitted:
        values = transformed(values, transform, column.feature)
    return values


def _summary(values: pl.Series, column: Column) -> Summary:
    if column.asked == "categories":
        return summarize_categories(values, limit=MOST_CATEGORIES)
    if column.asked == "tokens" and isinstance(column.feature, TextFeature):
        return summarize_tokens(values, column.feature, limit=MOST_TOKENS)
    return summarize_numbers(values, sketch=column.asked == "sketch")
