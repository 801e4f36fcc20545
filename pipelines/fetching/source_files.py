"""The files that a source needs: fetched, copied, packed or made in data/<pipeline>/raw, where nothing else is kept."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from headrace.components.errors import DataError, ParamsError
from headrace.components.files.atomic import replace_file
from headrace.components.sources.other_files import OtherFiles
from headrace.components.sources.raw_files import (
    CopiedFiles,
    FoundFiles,
    MadeFile,
    OwnRows,
    PackedImages,
    PartitionFiles,
    PinnedFiles,
    QueriedRows,
    RawFiles,
    TableRows,
)
from headrace.pipelines.artifacts.artifact import read_artifact
from headrace.pipelines.artifacts.ingest_report import IngestReport
from headrace.pipelines.fetching.databases import database_address
from headrace.pipelines.fetching.derived_files import Copy, write_copies
from headrace.pipelines.fetching.fetch import fetch, located
from headrace.pipelines.fetching.file_sets import copied_files, packed_images
from headrace.pipelines.fetching.landed_partitions import partition_copies
from headrace.pipelines.object_store.s3_keys import s3_access
from headrace.pipelines.paths import PipelinePaths

RAW_VARIABLE = "HEADRACE_RAW"  # "as_is": raw files are in place, and their source is not asked for them

log = structlog.get_logger()


def fetch_raw_files(needed: Sequence[RawFiles], paths: PipelinePaths) -> list[FoundFiles]:
    """Make data/<pipeline>/raw hold all that is needed, and nothing else; the files for each element.

    Where a version is made again, they are there: its source may have others by now, or be gone. Raises ParamsError for
    two files of one name, DataError and ServiceError for files that can't be had.
    """
    if os.environ.get(RAW_VARIABLE) == "as_is":
        return _files_in_place(needed, paths)
    found: list[FoundFiles] = []
    copies: list[Copy] = []
    for one in needed:
        not_fetched = OtherFiles()
        planned = _copies(one, paths, not_fetched)
        copies += planned
        names = [copy.path.name for copy in planned] or _names(one)
        found.append(FoundFiles(tuple(paths.raw / name for name in names), not_fetched))
    _require_own_names(needed, found)
    _fetch_pinned([one for one in needed if isinstance(one, PinnedFiles)], paths)
    for number, one in enumerate(needed):
        if isinstance(one, MadeFile | OwnRows | TableRows | QueriedRows):
            with replace_file(paths.raw / one.name) as file:
                found[number] = replace(found[number], version=_write(one, file, root=paths.root))
    if copies:
        is_packed = any(isinstance(one, PackedImages) for one in needed)
        write_copies(copies, aside=paths.refused, at_once=1 if is_packed else 4)  # to pack takes several threads
    _remove_others(found, paths)
    return found


def _files_in_place(needed: Sequence[RawFiles], paths: PipelinePaths) -> list[FoundFiles]:
    """The files that are in data/<pipeline>/raw, for each element; raises DataError for one that is not there."""
    named = [_names(one) for one in needed]
    unnamed = [place for place, names in enumerate(named) if not names]
    if len(unnamed) > 1:
        raise DataError(
            "ingest.source: which of the files in raw are of which set of files can't be known; give one set"
        )
    taken = {name for names in named for name in names}
    rest = sorted(path.name for path in paths.raw.iterdir() if path.name not in taken)
    found = [FoundFiles(tuple(paths.raw / name for name in names or rest), OtherFiles()) for names in named]
    missing = [path for files in found for path in files.paths if not path.is_file()]
    if missing:
        raise DataError(f"{missing[0]} is not there, and {RAW_VARIABLE} says that it is; unset that to fetch it")
    return found


def _write(one: MadeFile | OwnRows | TableRows | QueriedRows, file: Path, *, root: Path) -> str | None:
    """Write a file; returns the version of the table that it is of, if there is one."""
    match one:
        case MadeFile():
            one.write(file)
        case OwnRows():
            one.write(root, file)
        case TableRows():
            return one.write(root, s3_access, file)
        case QueriedRows():
            one.write(root, database_address(one.connection), file)
    return None


def _copies(one: RawFiles, paths: PipelinePaths, not_fetched: OtherFiles) -> list[Copy]:
    match one:
        case CopiedFiles(files=files, dataset=dataset):
            return copied_files(located(files, dataset=dataset, root=paths.root), folder=paths.raw)
        case PackedImages(files=files, dataset=dataset, prefix=prefix):
            files = located(files, dataset=dataset, root=paths.root)
            return packed_images(files, folder=paths.raw, prefix=prefix, others=not_fetched)
        case PartitionFiles(partitions=partitions, interval=interval):
            return partition_copies(partitions, interval, folder=paths.raw)
        case PinnedFiles() | MadeFile() | OwnRows() | TableRows() | QueriedRows():
            return []


def _names(one: RawFiles) -> list[str]:
    match one:
        case PinnedFiles(files=files):
            return [file.name for file in files]
        case MadeFile(name=name) | OwnRows(name=name) | TableRows(name=name) | QueriedRows(name=name):
            return [name]
    return []


def _require_own_names(needed: Sequence[RawFiles], found: Sequence[FoundFiles]) -> None:
    """Raise ParamsError for two files of one name that params.yaml can change; of copies, the data's owner can."""
    chosen = [files for one, files in zip(needed, found, strict=True) if isinstance(one, PinnedFiles | PackedImages)]
    counts = Counter(path.name for files in chosen for path in files.paths)
    if repeated := [name for name, count in counts.items() if count > 1]:
        raise ParamsError(f"ingest.source: two files are called {repeated[0]!r}; give each its own name")


def _fetch_pinned(needed: Sequence[PinnedFiles], paths: PipelinePaths) -> None:
    known = _last_sums(paths) if needed else {}
    for one in needed:
        for file in one.files:
            fetch(
                file,
                dataset=one.dataset,
                root=paths.root,
                folder=paths.raw,
                aside=paths.refused,
                known_sha256=known.get(file.name),
            )


def _last_sums(paths: PipelinePaths) -> dict[str, str]:
    """The SHA-256 of each file of the last ingest."""
    try:
        report = read_artifact(paths.ingest_metrics, IngestReport, command=f"headrace ingest {paths.pipeline}")
    except DataError:
        return {}  # no ingest before this one, or of another version: all is hashed again
    return {file.name: file.sha256 for file in report.files}


def _remove_others(found: Sequence[FoundFiles], paths: PipelinePaths) -> None:
    kept = {path for files in found for path in files.paths}
    others = [path for path in paths.raw.glob("*") if path.is_file() and path not in kept]
    for path in others:
        path.unlink()
    if others:
        log.info("removed what an earlier ingest left in raw", files=len(others), such_as=min(others).name)
