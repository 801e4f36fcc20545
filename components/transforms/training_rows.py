"""What the training rows of one shard are like: the part of fitting that is done for each shard, wherever it lies."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from headrace.components.examples.splits import assign_split
from headrace.components.files.tables import scan_files
from headrace.components.schema.feature_types.text_feature import TextFeature
from headrace.components.schema.features import Feature
from headrace.components.schema.split_settings import Split
from headrace.components.statistics.sketch import count_in_bins
from headrace.components.statistics.summary import (
    Summary,
    TableSummary,
    present_numbers,
    summarize_categories,
    summarize_elements,
    summarize_numbers,
    summarize_tokens,
)
from headrace.components.transforms.apply import transformed
from headrace.components.transforms.transform import FittedTransform, Statistics

MOST_CATEGORIES = 100_000
MOST_TOKENS = 5_000_000  # about a gigabyte


@dataclass(frozen=True)
class Column:
    """A column, the transforms it has gone through so far, and what must be known of the values then."""

    feature: Feature
    fitted: tuple[FittedTransform, ...]
    statistics: Statistics


def summarize_shard(file: Path | bytes, *, split: Split, columns: Mapping[str, Column]) -> TableSummary:
    """Summary of the training rows of one Parquet shard: a path, or what is in the file."""
    table = _training_rows(file, split=split, columns=columns)
    return TableSummary(table.height, {name: _summary(table[name], column) for name, column in columns.items()})


def count_shard(
    file: Path | bytes, *, split: Split, columns: Mapping[str, Column], bins: Mapping[str, Collection[int]]
) -> dict[str, dict[int, int]]:
    """For each of some columns of numbers, the counts by value within some bins of its sketch, of one shard."""
    table = _training_rows(file, split=split, columns=columns)
    return {name: count_in_bins(present_numbers(table[name]), places) for name, places in bins.items()}


def _training_rows(file: Path | bytes, *, split: Split, columns: Mapping[str, Column]) -> pl.DataFrame:
    """The columns' values in training rows, after a column that is there even if no other is requested."""
    rows = scan_files(file)
    is_training = assign_split(split, columns=rows.collect_schema().names()) == "train"
    values = [
        transformed(column.feature.raw_values(pl.col(name)), column.feature, column.fitted).alias(name)
        for name, column in columns.items()
    ]
    return rows.filter(is_training).select("example_id", *values).collect(engine="streaming")


def _summary(values: pl.Series, column: Column) -> Summary:
    if column.statistics == "categories":
        return summarize_categories(values, limit=MOST_CATEGORIES)
    if column.statistics == "elements":
        return summarize_elements(values)
    if column.statistics == "tokens":
        return summarize_tokens(values, TextFeature.require(column.feature), limit=MOST_TOKENS)
    return summarize_numbers(values, sketch=column.statistics == "sketch")
