"""Transforms fitted to the training examples of many shards, by summaries that merge exactly."""

from collections.abc import Mapping, Sequence
from functools import partial, reduce
from pathlib import Path

import numpy as np

from headrace.components.errors import DataError
from headrace.components.examples.settings import Feature, ImageFeature, Label, NumberFeature, TextFeature, label_column
from headrace.components.examples.sketch import merge_counts, value_at
from headrace.components.examples.split_settings import Split
from headrace.components.examples.summary import NumberSummary, Summary, merge_all
from headrace.components.mapping import Map, map_in_threads
from headrace.components.transforms.fit_column import fit_column, requested_by, summary_after
from headrace.components.transforms.fitted_transforms import (
    Fitted,
    FittedBackbone,
    FittedFeature,
    FittedImpute,
    FittedLabelTransform,
    FittedMinMax,
    FittedOneHot,
    FittedPolynomial,
    FittedStandardize,
    FittedTable,
)
from headrace.components.transforms.settings import LabelTransform, Transform
from headrace.components.transforms.training_rows import Column, count_shard, summarize_shard

Shards = Sequence[Path | bytes]


def fit(
    files: Shards,
    *,
    split: Split,
    features: Mapping[str, Feature],
    transforms: Mapping[str, Sequence[Transform | FittedBackbone]],
    label: Label,
    label_transform: LabelTransform | None = None,
    map_files: Map = map_in_threads,
) -> FittedTable:
    """Return the transforms, which must have passed `check`, fitted to the rows that `split` sends to training.

    A backbone's place is taken by what `fitted_backbone` has made of it: there is nothing to fit.
    `files` are Parquet shards: paths, or what is in them. The result is the same to the last bit however the rows are
    dealt out to files. Memory holds the columns of the shards at work; a median takes a second reading of its column.
    Raises DataError for no rows or a column that can't be fitted.
    """
    targets = list(label_column(label)) if label_transform else []
    label_chains = {name: (label_transform,) for name in targets if label_transform}
    training_examples, fitted = _fit_chains(
        files,
        split=split,
        features={**features, **dict.fromkeys(targets, NumberFeature())},
        chains={**transforms, **label_chains},
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
    chains: Mapping[str, Sequence[Transform | FittedBackbone]],
    map_files: Map,
) -> tuple[int, dict[str, tuple[Fitted, ...]]]:
    """Return the number of training rows and, by column, its first transform fitted, then the second to that, ..."""
    fitted: dict[str, tuple[Fitted, ...]] = dict.fromkeys(chains, ())
    known: dict[str, Summary | None] = dict.fromkeys(chains)  # of the values that a column's next transform takes
    rows = 0
    for place in range(max(1, *(len(chain) for chain in chains.values()))):
        due = {name: chain[place] for name, chain in chains.items() if place < len(chain)}
        columns = {
            name: Column(features[name], fitted[name], asked)
            for name, transform in due.items()
            if (asked := requested_by(transform)) and known[name] is None
        }
        if columns or place == 0:
            found = merge_all(map_files(partial(summarize_shard, split=split, columns=columns), files))
            rows, known = found.rows, {**known, **found.columns}
        if rows == 0:
            raise DataError("no training examples; lower validation_fraction or test_fraction, or add more data")
        medians = _medians(files, known, split=split, map_files=map_files)
        for name, transform in due.items():
            done = fit_column(transform, known[name], median=medians.get(name), feature=features[name], name=name)
            fitted[name] += (done,)
            known[name] = summary_after(done, known[name])
    return rows, fitted


def _medians(files: Shards, known: Mapping[str, Summary | None], *, split: Split, map_files: Map) -> dict[str, float]:
    """Return the median, as float32, of every column that has a sketch: the sketch says where to look closer."""
    sketches = {name: one.sketch for name, one in known.items() if isinstance(one, NumberSummary) and one.sketch}
    ranks = {name: _middle(sketch.total) for name, sketch in sketches.items() if sketch.total}
    if not ranks:
        return {}
    bins = {name: frozenset(sketches[name].bins_at(middle)) for name, middle in ranks.items()}
    counts = reduce(_merge_all_counts, map_files(partial(count_shard, split=split, bins=bins), files))
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


def _label_transform(fitted: Fitted) -> FittedLabelTransform:
    if not isinstance(fitted, FittedStandardize | FittedMinMax):
        raise TypeError(f"a label is standardized or min_max scaled, not {fitted.kind}")
    return fitted


def _feature(feature: Feature, transforms: tuple[Fitted, ...]) -> FittedFeature:
    if transforms and isinstance(transforms[-1], FittedBackbone):
        return FittedFeature(feature=feature, transforms=transforms, shape=(transforms[-1].width,))
    if isinstance(feature, ImageFeature):
        return FittedFeature(feature=feature, transforms=transforms, shape=feature.shape)
    if isinstance(feature, TextFeature):
        return FittedFeature(feature=feature, transforms=transforms, shape=(feature.length,))
    width = 1
    for transform in transforms:
        if isinstance(transform, FittedOneHot):
            width += len(transform.categories)
        if isinstance(transform, FittedPolynomial):
            width += transform.degree - 1
        if isinstance(transform, FittedImpute):
            width += transform.indicator
    return FittedFeature(feature=feature, transforms=transforms, shape=(width,))
