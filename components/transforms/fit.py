"""Transforms fitted to the training examples of many shards, by summaries that merge exactly."""

from collections.abc import Mapping, Sequence
from functools import partial, reduce
from pathlib import Path

import numpy as np

from headrace.components.errors import DataError
from headrace.components.mapping import Map, map_in_threads
from headrace.components.own_code.importable_code import NO_CODE, OwnCode
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.features import Feature
from headrace.components.schema.labels import Label
from headrace.components.schema.split_settings import Split
from headrace.components.statistics.sketch import merge_counts, value_at
from headrace.components.statistics.summary import CategorySummary, ElementSummary, NumberSummary, Summary, merge_all
from headrace.components.transforms.column_statistics import ColumnStatistics
from headrace.components.transforms.fitted_table import FittedFeature, FittedTable
from headrace.components.transforms.scaling import FittedScaling
from headrace.components.transforms.training_rows import Column, count_shard, summarize_shard
from headrace.components.transforms.transform import FittedTransform, Statistics, Transform

Shards = Sequence[Path | bytes]


def fit(  # noqa: PLR0913 - each by its keyword
    files: Shards,
    *,
    split: Split,
    features: Mapping[str, Feature],
    transforms: Mapping[str, Sequence[Transform]],
    label: Label,
    label_transform: Transform | None = None,
    backbone_weights: bytes = b"",
    code: OwnCode = NO_CODE,
    map_files: Map = map_in_threads,
) -> FittedTable:
    """The transforms, which must have passed `check`, fitted to the rows that `split` sends to training.

    `backbone_weights` is the content of the file that a backbone names, `code` that of the transforms of one's own.
    `files` are Parquet shards: paths, or what is in them. The result is the same to the last bit however the rows are
    dealt out to files. Memory holds the columns of the shards at work; a median takes a second reading of its column.
    Raises DataError for no rows or a column that can't be fitted.
    """
    targets = list(label.columns) if label_transform else []
    label_chains = {name: (label_transform,) for name in targets if label_transform}
    training_examples, fitted = _fit_chains(
        files,
        split=split,
        features={**features, **dict.fromkeys(targets, NumberFeature())},
        chains={**transforms, **label_chains},
        backbone_weights=backbone_weights,
        code=code,
        map_files=map_files,
    )
    of_label = tuple(_label_transform(*fitted[name]) for name in targets)
    return FittedTable(
        features={name: _feature(features[name], fitted[name]) for name in transforms},
        label=label,
        label_transform=of_label[0] if len(of_label) == 1 else None,
        label_transforms=of_label if len(of_label) > 1 else (),
        training_examples=training_examples,
    )


def _fit_chains(
    files: Shards,
    *,
    split: Split,
    features: Mapping[str, Feature],
    chains: Mapping[str, Sequence[Transform]],
    backbone_weights: bytes,
    code: OwnCode,
    map_files: Map,
) -> tuple[int, dict[str, tuple[FittedTransform, ...]]]:
    """Number of training rows and, by column, its first transform fitted, then the second to that, ..."""
    fitted: dict[str, tuple[FittedTransform, ...]] = dict.fromkeys(chains, ())
    known: dict[str, Summary | None] = dict.fromkeys(chains)  # of the values that a column's next transform takes
    rows = 0
    for place in range(max(1, *(len(chain) for chain in chains.values()))):
        due = {name: chain[place] for name, chain in chains.items() if place < len(chain)}
        columns = {
            name: Column(features[name], fitted[name], transform.statistics)
            for name, transform in due.items()
            if transform.statistics and not _is_answered(transform.statistics, known[name])
        }
        if columns or place == 0:
            found = merge_all(map_files(partial(summarize_shard, split=split, columns=columns), files))
            rows, known = found.rows, {**known, **found.columns}
        if rows == 0:
            raise DataError("no training examples; lower validation_fraction or test_fraction, or add more data")
        medians = _medians(files, columns, known, split=split, map_files=map_files)
        for name, transform in due.items():
            of = ColumnStatistics(name, features[name], known[name], medians.get(name), backbone_weights, code)
            done = transform.fit(of)
            fitted[name] += (done,)
            known[name] = done.summary_after(known[name])
    return rows, fitted


def _is_answered(statistics: Statistics, summary: Summary | None) -> bool:
    """Whether a summary, of what the transform before gives, is what this transform requests."""
    match statistics:
        case "numbers":
            return isinstance(summary, NumberSummary)
        case "sketch":
            return isinstance(summary, NumberSummary) and summary.sketch is not None
        case "categories" | "tokens":
            return isinstance(summary, CategorySummary)
        case "elements":
            return isinstance(summary, ElementSummary)


def _medians(
    files: Shards,
    columns: Mapping[str, Column],
    known: Mapping[str, Summary | None],
    *,
    split: Split,
    map_files: Map,
) -> dict[str, float]:
    """The median, as float32, of every column that has a sketch: the sketch says where to look closer."""
    summaries = {name: known[name] for name, column in columns.items() if column.statistics == "sketch"}
    sketches = {name: one.sketch for name, one in summaries.items() if isinstance(one, NumberSummary) and one.sketch}
    ranks = {name: _middle(sketch.total) for name, sketch in sketches.items() if sketch.total}
    if not ranks:
        return {}
    bins = {name: frozenset(sketches[name].bins_at(middle)) for name, middle in ranks.items()}
    with_bins = {name: columns[name] for name in bins}
    counts = reduce(
        _merge_all_counts, map_files(partial(count_shard, split=split, columns=with_bins, bins=bins), files)
    )
    return {
        name: _median([value_at(rank, sketches[name], counts[name]) for rank in middle])
        for name, middle in ranks.items()
    }


def _middle(count: int) -> tuple[int, int]:
    """The two ranks in the middle, or twice the one."""
    return (count - 1) // 2, count // 2


def _median(values: Sequence[float]) -> float:
    return float(np.float32(sum(values) / len(values)))


def _merge_all_counts(left: dict[str, dict[int, int]], right: dict[str, dict[int, int]]) -> dict[str, dict[int, int]]:
    return {name: merge_counts(counts, right[name]) for name, counts in left.items()}


def _label_transform(fitted: FittedTransform) -> FittedScaling:
    if not isinstance(fitted, FittedScaling):
        raise TypeError(f"expected a shift and a scale for a label, found {fitted.kind}")
    return fitted


def _feature(feature: Feature, transforms: tuple[FittedTransform, ...]) -> FittedFeature:
    shape = feature.shape
    for transform in transforms:
        shape = transform.shape_after(shape)
    return FittedFeature(feature=feature, transforms=transforms, shape=shape)
