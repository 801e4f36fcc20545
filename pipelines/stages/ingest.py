"""Ingest: fetch the source, check it against its schema, write typed examples, sorted by their ids."""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import structlog

from headrace.components.errors import DataError
from headrace.components.evaluation.drift import VersionProfile, compare
from headrace.components.examples import shards
from headrace.components.examples.identity import example_ids
from headrace.components.examples.sorted_runs import open_run, plan_shards, read_column, read_ranges
from headrace.components.examples.table import RepeatedError, merge_examples, repeated_words
from headrace.components.examples.validation import count_by_reason, require_few_failures
from headrace.components.files.atomic import replace_file, replace_folder
from headrace.components.files.tables import write_file
from headrace.components.mapping import Map, map_in_threads, map_to_files
from headrace.components.mixing import Words
from headrace.components.printable import printable
from headrace.components.schema.arrow_schema import arrow_schema
from headrace.components.sources.other_files import should_report
from headrace.components.sources.source import SourcePart
from headrace.components.statistics.profile import decoded_of, profile_of, summarize_table
from headrace.components.statistics.summary import TableSummary, merge_all
from headrace.pipelines.artifacts.artifact import write_artifact
from headrace.pipelines.artifacts.ingest_report import FileRecord, IngestReport
from headrace.pipelines.fetching.fetch import sha256_of
from headrace.pipelines.fetching.sorted_run_files import Runs, write_runs
from headrace.pipelines.fetching.source_files import fetch_raw_files
from headrace.pipelines.params import Ingest, Pipeline
from headrace.pipelines.paths import PipelinePaths

log = structlog.get_logger()


def ingest(pipeline: Pipeline, paths: PipelinePaths, *, map_: Map = map_in_threads) -> None:
    """Write data/<pipeline>/raw, /examples and /rejected.parquet, and reports/<pipeline>/ingest.json.

    Blocks of the source become sorted runs, which are merged range by range. Memory holds a few blocks or one shard for
    each thread, however much data there is.
    """
    settings = pipeline.ingest
    settings.source.check_schema(settings)
    raw = fetch_raw_files(settings.source.raw_files(settings), paths)
    parts = settings.source.open_parts(raw, settings)
    runs = write_runs(parts, paths.runs, schema=settings, map_=map_)
    _require_good(runs, settings, paths)
    try:
        counts, version = _write_examples(runs, settings, paths, map_=map_)
    except RepeatedError as error:
        raise DataError(_explain_repeated(error, parts, settings)) from error
    with replace_file(paths.rejected) as file:
        runs.rejected.sink_parquet(file, compression="zstd")
    with replace_file(paths.profile) as file:
        file.write_text(version.model_dump_json(indent=1) + "\n", encoding="utf-8")
    others = sum((part.not_fetched.counts for part in parts), runs.other_files)
    versions = {path.name: one.version for one in raw for path in one.paths if one.version}
    report = _report(runs, counts, others, _files(paths.raw, versions))
    if len(parts) == 1:
        shutil.rmtree(paths.runs)  # to read one file again is as fast as to find out whether it has changed
    write_artifact(paths.ingest_metrics, report)
    shown = {name: count for name, count in report if isinstance(count, int) and name != "format_version"}
    log.info("ingested", pipeline=pipeline.name, **shown)


def _require_good(runs: Runs, settings: Ingest, paths: PipelinePaths) -> None:
    """Raise DataError for too many rejected rows, and for values that must differ but don't."""
    try:
        require_few_failures(
            runs.rejected.head(100).collect(),
            rows_rejected=runs.rows_rejected,
            rows_read=runs.rows_read,
            max_bad_fraction=settings.max_bad_fraction,
        )
    except DataError as error:
        with replace_file(paths.refused / "rejected.parquet") as file:
            runs.rejected.sink_parquet(file, compression="zstd")
        raise DataError(f"{error}\nall of them are in {paths.refused / 'rejected.parquet'}") from error
    for column in settings.unique_columns:
        repeated = repeated_words(runs.unique(column))
        if len(repeated):
            value = _first_value(runs, column, repeated)
            raise DataError(
                f"ingest.features.{column}: values must differ (unique), but {len(repeated)} of them occur more than "
                f"once, such as {value!r}; fix the data, or remove unique"
            )


def _write_examples(
    runs: Runs, settings: Ingest, paths: PipelinePaths, *, map_: Map
) -> tuple[Counter[str], VersionProfile]:
    """Write the examples; returns the rows' counts by outcome, and the profile. After an error no file remains."""
    schema = arrow_schema(settings, given_split=bool(settings.source.given_splits))
    ranges = plan_shards(runs.counts, rows_per_shard=shards.rows_per_shard(schema, features=settings.features))
    write = partial(_write_shard, settings=settings, schema=schema, decoded_of=decoded_of(sum(runs.counts)))
    with replace_folder(paths.examples) as folder:
        opened = [open_run(file) for file in runs.files]
        pieces = ((read_ranges(opened, one), folder / shards.file_name(number)) for number, one in enumerate(ranges))
        written = list(map_to_files(map_, write, pieces))
        version = _compare(merge_all(shard.summary for shard in written), settings, paths)
    return sum((shard.counts for shard in written), Counter()), version


def _compare(summary: TableSummary, settings: Ingest, paths: PipelinePaths) -> VersionProfile:
    """Profile of the examples and its drift from the last version; raise DataError where it drifts too far."""
    present = profile_of(summary)
    if not paths.profile.is_file():
        return VersionProfile(profile=present)
    before = VersionProfile.model_validate_json(paths.profile.read_text(encoding="utf-8"))
    if before.profile == present:
        return before  # the same data, once more
    drift = compare(before.profile, summary, label=settings.label.name, limits=settings.drift)
    if failed := drift.above("fail"):
        raise DataError(
            "the data has drifted from the version before: " + "; ".join(failed) + ". Fix the source, raise the limit "
            f"in ingest.drift.fail, or remove {paths.profile} to start over"
        )
    for sentence in drift.above("warn"):
        log.warning("the data has drifted", what=sentence)
    return VersionProfile(profile=present, drift=drift)


@dataclass(frozen=True)
class _Shard:
    counts: Counter[str]
    summary: TableSummary


def _write_shard(found: pa.Table | None, file: Path, *, settings: Ingest, schema: pa.Schema, decoded_of: int) -> _Shard:
    found = schema.empty_table() if found is None else found
    table, left_out = merge_examples(found, repeated=settings.repeated_keys, duplicates=settings.duplicates)
    again = table.height - table["example_id"].n_unique()
    counts = Counter(rows_kept=table.height, rows_left_out=left_out, duplicate_rows=again)
    if "given_split" in table.columns:
        counts.update({f"{split}_rows": rows for split, rows in table["given_split"].value_counts().iter_rows()})
    write_file(table, file, schema=schema)
    return _Shard(counts, summarize_table(table, columns=settings.columns, decoded_of=decoded_of))


def _first_value(runs: Runs, column: str, repeated: Words) -> object:
    """One of the values with a digest that occurs more than once."""
    for run in runs.files:
        values = read_column(run, column).drop_nulls().to_frame()
        again = np.isin(example_ids(values, columns=[column]), repeated)
        if again.any():
            return values[column][int(again.argmax())]
    return None


def _explain_repeated(error: RepeatedError, parts: Sequence[SourcePart], settings: Ingest) -> str:
    """Name the rows: the source is read again, because examples don't keep the columns of their key."""
    columns = settings.key
    if not columns:
        return f"ingest.duplicates: {error.rows} rows have the same content as another; fix the data, or drop them"
    for part in parts:
        for block in part.read():
            table = block.read().table
            found = np.isin(example_ids(table, columns=columns), np.array(error.ids, np.uint64))
            for row in np.flatnonzero(found)[:1]:
                shown = ", ".join(f"{name} = {table[name][int(row)]}" for name in columns)
                return f"ingest.key: {error.rows} rows share their key with another; the first has {printable(shown)}"
    return f"ingest.key: {error.rows} rows share their key with another"


def _report(runs: Runs, counts: Counter[str], others: Counter[str], files: tuple[FileRecord, ...]) -> IngestReport:
    if noted := should_report(others):
        log.warning("files that are no images by their names were left out", files=noted)
    return IngestReport(
        rows_read=runs.rows_read,
        rows_rejected=runs.rows_rejected,
        rows_kept=counts["rows_kept"],
        rows_left_out=counts["rows_left_out"],
        duplicate_rows=counts["duplicate_rows"],
        train_rows=counts.get("train_rows"),
        test_rows=counts.get("test_rows"),
        rejected_by_reason=count_by_reason(runs.rejected),
        files_left_out=dict(sorted(others.items())) or None,
        files=files,
    )


def _files(folder: Path, versions: Mapping[str, str]) -> tuple[FileRecord, ...]:
    """The files that were read, by name."""
    files = sorted(folder.iterdir())
    with ThreadPoolExecutor() as pool:
        sums = pool.map(sha256_of, files)
    return tuple(
        FileRecord(name=file.name, bytes=file.stat().st_size, sha256=one, version=versions.get(file.name))
        for file, one in zip(files, sums, strict=True)
    )
