"""Data that arrives by the day or hour: which files of a landing folder or bucket belong to which interval of time.

A partition belongs to the interval that its beginning lies in. So every file belongs to exactly one of any intervals
that follow each other, whatever else has arrived and whenever it is asked.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from components.errors import DataError, ParamsError
from components.sources.settings import Interval, Partitions

Files = Mapping[datetime, Sequence[str]]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN = 5
_EXPRESSIONS = {
    "{date}": "(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})",
    "{hour}": "(?P<hour>[0-9]{2})",
    "*": r"(?!(?<![^/])[._])[^/]*",  # no name that begins with . or _: by custom, one that is not whole yet
}


def files_by_partition(keys: Iterable[str], *, partitions: Partitions) -> Files:
    """Return the files of each partition by when it begins (UTC), both sorted; those without success_file left out."""
    present = set(keys)
    files = defaultdict(list)
    expression = re.compile(_expression(partitions.pattern))
    for key in sorted(present):
        if begin := _begin(expression.fullmatch(key)):
            files[begin].append(key)
    marker = partitions.success_file
    return {begin: files[begin] for begin in sorted(files) if marker is None or path_of(marker, begin) in present}


def expected_partitions(partitions: Partitions, interval: Interval) -> list[datetime]:
    """Return when each partition of the interval begins; raise ParamsError if none begins in it."""
    length = timedelta(hours=1) if partitions.is_hourly else timedelta(days=1)
    first = interval.start + (_EPOCH - interval.start) % length
    count = max(0, -((first - interval.end) // length))
    if not count:
        raise ParamsError(
            f"ingest.source: no partition begins in the interval {_text(interval)}, because {partitions.pattern} has "
            f"one {'an hour' if partitions.is_hourly else 'a day'}; take longer intervals (in Airflow: schedule.cron)"
        )
    return [first + number * length for number in range(count)]


def select_partitions(found: Files, *, partitions: Partitions, interval: Interval | None) -> Files:
    """Return the partitions of the interval, all without one, in order of time.

    Raises DataError, naming what was expected and what is there, if one is missing; with `allow_gaps`, if all are.
    """
    expected = expected_partitions(partitions, interval) if interval else list(found)
    missing = [begin for begin in expected if begin not in found]
    if len(missing) == len(expected) or (missing and not partitions.allow_gaps):
        raise DataError(_missing(missing, found, partitions=partitions, interval=interval))
    return {begin: found[begin] for begin in expected if begin in found}


def common_prefix(partitions: Partitions, interval: Interval) -> str:
    """Return what the names of all files of the interval begin with: nothing else needs to be listed."""
    paths = [path for path in (partitions.pattern, partitions.success_file) if path is not None]
    ends = expected_partitions(partitions, interval)[:: max(1, _last(partitions, interval))]
    return os.path.commonprefix([path_of(path, begin).partition("*")[0] for path in paths for begin in ends])


def path_of(path: str, begin: datetime) -> str:
    """Return a path of the settings for the partition that begins then.

    >>> path_of("date={date}/*.csv", datetime(2026, 11, 20, tzinfo=UTC))
    'date=2026-11-20/*.csv'
    """
    return path.replace("{date}", f"{begin:%Y-%m-%d}").replace("{hour}", f"{begin:%H}")
