"""Partitions of a landing folder or bucket: found by their interval of time, and copied file by file."""

from pathlib import Path

from headrace.components.errors import DataError
from headrace.components.sources.partitions import (
    Files,
    Interval,
    Partitions,
    common_prefix,
    describe,
    explain_missing,
    files_by_partition,
    missing_partitions,
    within,
)
from headrace.pipelines.fetching.derived_files import Copy
from headrace.pipelines.fetching.file_sets import copied
from headrace.pipelines.object_store.objects import open_storage


def are_there(partitions: Partitions, interval: Interval | None) -> bool:
    """Whether the partitions of the interval have arrived, or any if there is none; lists no more than it needs."""
    found = _list(partitions, interval)
    return not missing_partitions(found, partitions=partitions, interval=interval) if interval else bool(found)


def find_partitions(partitions: Partitions, interval: Interval | None) -> Files:
    """Files of the interval's partitions, ordered by start time; of all partitions without an interval.

    Raises DataError, naming what was expected and what there is, for one that is missing.
    """
    found = _list(partitions, interval)
    if interval and (missing := missing_partitions(found, partitions=partitions, interval=interval)):
        everything = _list(partitions, None)
        raise DataError(explain_missing(missing, everything, partitions=partitions, interval=interval))
    if not found:
        raise DataError(f"{partitions.root}: {describe(found, partitions)}; add one there, or fix root and pattern")
    return found


def partition_copies(partitions: Partitions, interval: Interval | None, *, folder: Path) -> list[Copy]:
    """The files of the interval's partitions as they are to be in `folder`, `/` in their names made `_`, in order.

    Raises DataError for a missing partition, ServiceError for storage that can't be reached.
    """
    keys = [key for files in find_partitions(partitions, interval).values() for key in files]
    return copied(partitions.root, keys, folder=folder)


def _list(partitions: Partitions, interval: Interval | None) -> Files:
    keys = open_storage(partitions.root).keys(common_prefix(partitions, interval) if interval else "")
    return within(files_by_partition(keys, partitions=partitions), interval)
