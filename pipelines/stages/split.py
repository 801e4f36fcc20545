"""Split: write train, validation and test by example id, group or time."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import structlog

from headrace.components.errors import DataError
from headrace.components.examples import shards
from headrace.components.examples.split_overlap import Overlap, can_overlap, held_out_content, training_content_among
from headrace.components.examples.splits import SPLITS, assign_split
from headrace.components.files.atomic import replace_folder
from headrace.components.files.tables import read_file, scan_files, write_file
from headrace.components.mapping import Map, map_in_threads, map_to_files
from headrace.components.mixing import Words
from headrace.components.schema.example_schema import ADDED_COLUMNS
from headrace.components.schema.features import Feature
from headrace.components.schema.labels import Label
from headrace.components.schema.split_settings import Split
from headrace.components.tasks.variants import task_of
from headrace.pipelines.artifacts.artifact import write_artifact
from headrace.pipelines.artifacts.split_manifest import OverlapCounts, SplitManifest, SplitSummary
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.project.stage_inputs import require_inputs

log = structlog.get_logger()


@dataclass(frozen=True)
class Shares:
    """Rows by split, and how many held-out rows have the content of rows in another split."""

    rows: dict[str, pl.DataFrame]
    overlapping: Counter[str]


def split(pipeline: Pipeline, paths: PipelinePaths, *, map_: Map = map_in_threads) -> None:
    """Write data/<pipeline>/splits: a folder each for train, validation and test, and manifest.json.

    Raises DataError for an empty split, and for a class that no training example has.
    """
    require_inputs(paths, "split")
    files = shards.files(paths.normalized)
    overlap = _find_overlap(files, pipeline.split, map_)
    overlapping: Counter[str] = Counter()
    shares = map_(partial(_share_out, split=pipeline.split, overlap=overlap), files)
    with replace_folder(paths.splits) as folder:
        for name in SPLITS.categories:
            (folder / name).mkdir()
        pieces = _shards(shares, overlapping, features=pipeline.ingest.features)
        targets = ((table, folder / name / shards.file_name(number)) for name, number, table in pieces)
        list(map_to_files(map_, write_file, targets))
        if pipeline.split.overlap == "refuse" and overlapping.total():
            raise DataError(
                f"split: rows whose content is also in another split: {dict(overlapping)}; fix the data, or let "
                "split.overlap drop them"
            )
        manifest = _manifest(folder, pipeline, overlapping)
        write_artifact(folder / paths.manifest.name, manifest)
    log.info("split", **{name: summary.examples for name, summary in manifest.splits.items()})


def _find_overlap(files: Sequence[Path], split: Split, map_: Map) -> Overlap:
    """Find content that is in more than one split. Only ids are read; those of held-out rows are held in memory."""
    columns = scan_files(files[0]).collect_schema()
    if not can_overlap(columns):
        return Overlap.none()
    held_out = list(map_(partial(held_out_content, split=split), files))
    validation, test = (np.unique(np.concatenate(words)) for words in zip(*held_out, strict=True))
    search = partial(training_content_among, split=split, held_out=np.union1d(validation, test))
    return Overlap(training=np.unique(np.concatenate(list(map_(search, files)))), test=np.intersect1d(validation, test))


def _share_out(shard: Path | bytes, *, split: Split, overlap: Overlap) -> Shares:
    """Rows of one shard by split, and how many were left out or, where they are kept, overlap."""
    table = read_file(shard)
    assigned = table.select(assign_split(split, columns=table.columns)).to_series()
    rows: dict[str, pl.DataFrame] = {}
    overlapping: Counter[str] = Counter()
    for name in SPLITS.categories:
        rows[name] = table.filter(assigned == name)
        if name != "train":
            overlaps = overlap.covers(rows[name], name)
            overlapping[name] = int(overlaps.sum())
            rows[name] = rows[name] if split.overlap == "keep" else rows[name].filter(~overlaps)
    left_out = [name for name in ADDED_COLUMNS[1:] if name != "sample_weight"]  # which training needs
    return Shares({name: part.drop(left_out, strict=False) for name, part in rows.items()}, overlapping)


def _shards(
    shares: Iterable[Shares], overlapping: Counter[str], *, features: Mapping[str, Feature]
) -> Iterator[tuple[str, int, pl.DataFrame]]:
    """Yield the rows of all shares, by split, in shards of equal length; `overlapping` counts on the way."""
    waiting: dict[str, list[pl.DataFrame]] = {name: [] for name in SPLITS.categories}
    numbers: Counter[str] = Counter()
    for share in shares:
        overlapping.update(share.overlapping)
        for name, rows in share.rows.items():
            waiting[name].append(rows)
            length = shards.rows_per_shard(rows[:0].to_arrow().schema, features=features)
            while sum(part.height for part in waiting[name]) >= length:
                table = pl.concat(waiting[name])
                yield name, numbers[name], table[:length]
                numbers[name], waiting[name] = numbers[name] + 1, [table[length:]]
    for name, parts in waiting.items():
        if not numbers[name] or any(part.height for part in parts):
            yield name, numbers[name], pl.concat(parts)


def _manifest(folder: Path, pipeline: Pipeline, overlapping: Counter[str]) -> SplitManifest:
    label = pipeline.ingest.label
    splits = {name: _summary(folder / name, label) for name in SPLITS.categories}
    _check(splits, pipeline)
    digests = "".join(f"{summary.digest} {name}\n" for name, summary in splits.items())
    return SplitManifest(
        pipeline=pipeline.name,
        seed=pipeline.split.seed,
        digest=hashlib.sha256(digests.encode()).hexdigest(),
        overlap=_overlap(folder, pipeline.split, overlapping),
        splits=splits,
    )


def _overlap(folder: Path, split: Split, overlapping: Counter[str]) -> OverlapCounts:
    """Counts of held-out rows that are also in training: by id as they were written, and by content."""
    held_out = shards.scan(folder / "validation", folder / "test").select("example_id").collect().to_series().sort()
    search = partial(_rows_among, held_out=held_out.to_numpy())
    by_id = sum(map_in_threads(search, shards.files(folder / "train")))
    if split.overlap == "keep":
        return OverlapCounts(by_id=by_id, by_content=overlapping.total(), left_out=0)
    return OverlapCounts(by_id=by_id, by_content=0, left_out=overlapping.total())


def _rows_among(shard: Path, *, held_out: Words) -> int:
    """Count of a shard's rows with an id of `held_out`, uint64[n], sorted: only those in the shard's range can be."""
    ids = read_file(shard, columns=["example_id"])["example_id"]
    if ids.is_empty():
        return 0
    first, last = np.array([ids.min(), ids.max()], np.uint64)
    near = held_out[np.searchsorted(held_out, first) : np.searchsorted(held_out, last, side="right")]
    return int(ids.is_in(pl.Series(near).implode()).sum())


def _summary(folder: Path, label: Label) -> SplitSummary:
    labels = shards.scan(folder).select("label")
    classes = None
    if names := task_of(label).classes:
        counts = dict(labels.group_by("label").len().collect(engine="streaming").iter_rows())
        classes = {str(index): counts.get(index, 0) for index in range(len(names))}
    examples = labels.select(pl.len()).collect().item()
    return SplitSummary(examples=examples, digest=shards.digest(folder), classes=classes)


def _check(splits: Mapping[str, SplitSummary], pipeline: Pipeline) -> None:
    label, classes = pipeline.ingest.label, task_of(pipeline.ingest.label).classes
    for name, summary in splits.items():
        if summary.examples == 0 and name in ("train", *pipeline.split.names_held_out):
            raise DataError(f"the {name} split is empty; {_REMEDY[name]}, or add more data")
    if classes:
        counts = splits["train"].classes or {}
        missing = [name for index, name in enumerate(classes) if not counts.get(str(index))]
        if missing:
            raise DataError(
                f"no training example has {label.name} {', '.join(map(repr, missing))}; add more data, "
                "try another split.seed, hold out a smaller share, or take the class out of ingest.label.classes"
            )


_REMEDY = {
    "train": "lower split.validation_fraction or split.test_fraction",
    "validation": "raise split.validation_fraction",
    "test": "raise split.test_fraction",
}
