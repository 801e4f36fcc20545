"""Data that arrives by the day or hour: which files of a landing folder or bucket belong to which interval of time.

A partition belongs to the interval that its beginning lies in. So every file belongs to exactly one of any intervals
that follow each other, whatever else has arrived and whenever it is asked.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from headrace.components.errors import ParamsError
from headrace.components.sources.settings import Interval, Partitions

Files = Mapping[datetime, Sequence[str]]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN = 5
_EXPRESSIONS = {
    "{date}": "(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})",
    "{hour}": "(?P<hour>[0-9]{2})",
    # No name that begins with . or _: by custom, one that is not whole yet.
    "*": r"(?!(?<![^/])[._])[^/]*",
    "**/": r"(?:[^/._][^/]*/)*",
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


def matching_files(keys: Iterable[str], *, pattern: str) -> list[str]:
    """Return the keys that fit the pattern of a file set, sorted."""
    expression = re.compile(_expression(pattern))
    return sorted(key for key in keys if expression.fullmatch(key))


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


def within(found: Files, interval: Interval | None) -> Files:
    """Return the partitions that begin within the interval; all without one."""
    return {at: files for at, files in found.items() if interval is None or interval.start <= at < interval.end}


def missing_partitions(found: Files, *, partitions: Partitions, interval: Interval) -> list[datetime]:
    """Return when the partitions begin that the interval lacks; with `allow_gaps`, only where it lacks all."""
    expected = expected_partitions(partitions, interval)
    missing = [begin for begin in expected if begin not in found]
    return [] if partitions.allow_gaps and len(missing) < len(expected) else missing


def explain_missing(missing: Sequence[datetime], found: Files, *, partitions: Partitions, interval: Interval) -> str:
    """Return what was expected where, what there is (`found`, of any time), and what to do."""
    return (
        f"{partitions.root}: no partition {_names(missing, partitions)}{_marked(partitions)}, expected for the "
        f"interval {_text(interval)}; {describe(found, partitions)}. Run again when it has arrived; if it never will, "
        "allow_gaps lets an interval of several partitions lack some"
    )


def describe(found: Files, partitions: Partitions) -> str:
    """Return in words which partitions there are."""
    if not found:
        return f"there is none {partitions.pattern}{_marked(partitions)}"
    first, last = (path_of(partitions.pattern, begin) for begin in (min(found), max(found)))
    return f"there is {first}" if len(found) == 1 else f"there are {len(found)}, {first} to {last}"


def common_prefix(partitions: Partitions, interval: Interval) -> str:
    """Return what the names of all files of the interval begin with: nothing else needs to be listed."""
    expected = expected_partitions(partitions, interval)
    paths = [path for path in (partitions.pattern, partitions.success_file) if path is not None]
    ends = [path_of(path, begin).partition("*")[0] for path in paths for begin in (expected[0], expected[-1])]
    return os.path.commonprefix(ends)  # noqa: RUF071 - by character is meant: days sort as text


def path_of(path: str, begin: datetime) -> str:
    """Return a path of the settings for the partition that begins then.

    >>> path_of("date={date}/*.csv", datetime(2026, 11, 20, tzinfo=UTC))
    'date=2026-11-20/*.csv'
    """
    return path.replace("{date}", begin.date().isoformat()).replace("{hour}", f"{begin.hour:02}")


def _expression(pattern: str) -> str:
    pieces = re.split(r"(\{date\}|\{hour\}|\*\*/|\*)", pattern)
    names = "".join(_EXPRESSIONS.get(piece, re.escape(piece)) for piece in pieces)
    return f"{names}(?<!/)"  # a bucket may hold an empty object for a folder


def _begin(match: re.Match[str] | None) -> datetime | None:
    """When the partition of a file begins; None for another file, and for a day that is in no calendar."""
    if match is None:
        return None
    try:
        return datetime.fromisoformat(f"{match['date']}T{match.groupdict().get('hour', '00')}:00:00+00:00")
    except ValueError:
        return None


def _names(begins: Sequence[datetime], partitions: Partitions) -> str:
    names = ", ".join(path_of(partitions.pattern, begin) for begin in begins[:_SHOWN])
    return f"{names} and {len(begins) - _SHOWN} more" if len(begins) > _SHOWN else names


def _marked(partitions: Partitions) -> str:
    return f" with {partitions.success_file}" if partitions.success_file else ""


def _text(interval: Interval) -> str:
    return f"{interval.start.isoformat()} to {interval.end.isoformat()}"
