"""Ingest: fetch the source, check it against its schema, write typed examples."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import structlog

from components.errors import ParamsError
from components.examples import shards
from components.examples.schema import arrow_schema, value_columns
from components.examples.settings import ImageFeature
from components.examples.table import example_table
from components.examples.validation import CheckedPart, check_part, require_few_failures
from components.sources.bundled import read_digits
from components.sources.delimited import read_delimited_file, read_delimited_part
from components.sources.idx import read_idx_part
from components.sources.part import RawPart, only_image
from components.sources.settings import BundledSource, DelimitedSource, IdxSource, SourceFile
from pipelines.params import Ingest, Pipeline
from pipelines.paths import PipelinePaths
from pipelines.storage.atomic import replace_file, replace_folder
from pipelines.storage.fetch import fetch, sha256_of
from pipelines.storage.partitions import fetch_partitions

log = structlog.get_logger()


def ingest(pipeline: Pipeline, paths: PipelinePaths) -> None:
    """Write data/<pipeline>/raw, data/<pipeline>/examples and reports/<pipeline>/ingest.json."""
    settings = pipeline.ingest
    parts = [
        check_part(part, features=settings.features, label=settings.label, key=settings.key)
        for part in _read_source(settings, paths)
    ]
    require_few_failures(parts, max_bad_fraction=settings.max_bad_fraction)
    table = example_table(parts, key=settings.key)
    schema = arrow_schema(settings.features, settings.label, given_split="given_split" in table.columns)
    with replace_folder(paths.examples) as folder:
        shards.write(table, folder, schema=schema)
    counts = _count(parts, table)
    if isinstance(settings.source, DelimitedSource) and settings.source.partitions:  # params.yaml has those of others
        counts["files"] = _files(paths)
    with replace_file(paths.ingest_metrics) as file:
        file.write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
    log.info("ingested", pipeline=pipeline.name, **{name: n for name, n in counts.items() if isinstance(n, int)})


def _read_source(settings: Ingest, paths: PipelinePaths) -> list[RawPart]:
    """Return the source's parts, from data/<pipeline>/raw, after bringing there what is not there yet."""
    match settings.source:
        case BundledSource():
            return [_read_bundled(settings, paths)]
        case IdxSource() as source:
            return _read_idx(source, settings, paths)
        case DelimitedSource() as source:
            return _read_delimited(source, settings, paths)


def _read_bundled(settings: Ingest, paths: PipelinePaths) -> RawPart:
    image, feature = only_image(settings.features, kind="bundled")
    _require_key(settings, (image, settings.label.name))
    table = read_digits(image=image, label=settings.label.name, feature=feature)
    with replace_folder(paths.raw) as folder:
        shards.write(table, folder)
    return RawPart(table, dict.fromkeys(table.columns, "scikit-learn's digits"))


def _read_idx(source: IdxSource, settings: Ingest, paths: PipelinePaths) -> list[RawPart]:
    image, feature = only_image(settings.features, kind="idx")
    label = settings.label.name
    _require_key(settings, (image, label))
    _fetch_all(source.dataset, [file for part in source.parts for file in (part.images, part.labels)], paths)
    return [
        read_idx_part(
            paths.raw / part.images.name,
            paths.raw / part.labels.name,
            image=image,
            label=label,
            feature=feature,
            given_split=part.given_split,
        )
        for part in source.parts
    ]


def _read_delimited(source: DelimitedSource, settings: Ingest, paths: PipelinePaths) -> list[RawPart]:
    for name, column in settings.features.items():
        if isinstance(column, ImageFeature):
            raise ParamsError(f"ingest.features.{name}: a source of kind 'delimited' gives no images")
    columns = list(dict.fromkeys([*settings.key, *value_columns(settings.features, settings.label)]))
    if source.partitions:
        files = fetch_partitions(source.partitions, source.interval, folder=paths.raw)
        _remove_others([file.name for file in files], paths)
        return [_read_file(file, source, columns) for file in files]
    _fetch_all(source.dataset, [file for part in source.parts for file in part.files], paths)
    return [
        read_delimited_part(
            part,
            [paths.raw / file.name for file in part.files],
            columns=columns,
            separator=source.separator,
            null_values=source.null_values,
        )
        for part in source.parts
    ]


def _read_file(file: Path, source: DelimitedSource, columns: Sequence[str]) -> RawPart:
    table = read_delimited_file(
        file, columns=columns, optional=(), separator=source.separator, null_values=source.null_values
    )
    return RawPart(table, dict.fromkeys(columns, file.name))


def _require_key(settings: Ingest, columns: Sequence[str]) -> None:
    for name in settings.key:
        if name not in columns:
            raise ParamsError(f"ingest.key: no column {name!r}; this source gives {' and '.join(columns)}")


def _fetch_all(dataset: str, files: Sequence[SourceFile], paths: PipelinePaths) -> None:
    """Bring every file to data/<pipeline>/raw, and remove whatever else is there."""
    repeated = [name for name, count in Counter(file.name for file in files).items() if count > 1]
    if repeated:
        raise ParamsError(f"ingest.source: two files are called {repeated[0]!r}; give each its own name")
    for file in files:
        fetch(file, dataset=dataset, folder=paths.raw)
    _remove_others([file.name for file in files], paths)


def _remove_others(names: Sequence[str], paths: PipelinePaths) -> None:
    kept = set(names)
    for path in paths.raw.iterdir():
        if path.is_file() and path.name not in kept:
            path.unlink()


def _files(paths: PipelinePaths) -> list[dict[str, object]]:
    """What was read: name, size and SHA-256 of each raw file. As a list, because DVC shows what is in a dict."""
    return [
        {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(paths.raw.iterdir())
    ]


def _count(parts: Sequence[CheckedPart], table: pl.DataFrame) -> dict[str, object]:
    read = sum(part.rows_read for part in parts)
    reasons = sum((Counter(part.rejected_by_reason) for part in parts), Counter())
    counts: dict[str, object] = {
        "rows_read": read,
        "rows_kept": table.height,
        "rows_rejected": read - table.height,
        "duplicate_rows": table.height - table["example_id"].n_unique(),
        "rejected_by_reason": dict(sorted(reasons.items())),
    }
    if "given_split" in table.columns:
        counts |= {f"{split}_rows": table.filter(pl.col("given_split") == split).height for split in ("train", "test")}
    return counts
