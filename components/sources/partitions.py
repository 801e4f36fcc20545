"""Data that arrives by the day or hour: which files of a landing folder or bucket belong to which interval of time.

A partition belongs to the interval that its beginning lies in. So every file belongs to exactly one of any intervals
that follow each other, whatever else has arrived and whenever it is asked.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Self

from pydantic import Field, model_validator

from headrace.components.errors import ParamsError
from headrace.components.schema.settings import Moment, Settings
from headrace.components.sources.file_set import regular_expression, require_below_root

Root = Annotated[str, Field(pattern=r"^(s3:/)?/.")]
Files = Mapping[datetime, Sequence[str]]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN = 5


class Partitions(Settings):
    """A landing folder, or the prefix of a bucket, with a partition of one or more files per day or hour of UTC."""

    root: Root
    """The full path of a folder, or `s3://BUCKET/PREFIX`, with `?endpoint_url=...` for a server other than Amazon's."""

    pattern: str = "date={date}/*.csv"
    """The files of one partition below `root`. `{date}` is its day (`2026-11-20`, UTC), and an optional `{hour}` after
    it the hour (`00` to `23`). `*` is any text without `/`; it matches no name that begins with `.` or `_`.
    """

    success_file: str | None = None
    """The file below `root` that marks a partition as complete, such as `date={date}/_SUCCESS`."""

    allow_gaps: bool = False
    """Whether some partitions of an interval of several may be missing; never all."""

    @property
    def is_hourly(self) -> bool:
        """Whether a partition is an hour, and not a day."""
        return "{hour}" in self.pattern

    @model_validator(mode="after")
    def _paths_say_when(self) -> Self:
        _require_path(self.pattern, name="pattern")
        if self.success_file is not None:
            _require_path(self.success_file, name="success_file")
            if "*" in self.success_file or self.is_hourly != ("{hour}" in self.success_file):
                raise ValueError(
                    f"success_file {self.success_file!r} must be one file of one partition: without *, and with the "
                    "placeholders of pattern, as in date={date}/_SUCCESS"
                )
        return self


class Interval(Settings):
    """From `start` until before `end`; a time without a zone is in UTC."""

    start: Moment
    """Start of the interval, included. Without a zone, it is in UTC."""

    end: Moment
    """End of the interval, excluded. Without a zone, it is in UTC."""

    @model_validator(mode="after")
    def _start_is_before_end(self) -> Self:
        if self.start >= self.end:
            raise ValueError(f"start {self.start.isoformat()} is not before end {self.end.isoformat()}")
        return self


def files_by_partition(keys: Iterable[str], *, partitions: Partitions) -> Files:
    """Files of each partition by its start (UTC), both sorted; those without success_file are excluded."""
    present = set(keys)
    files = defaultdict(list)
    expression = re.compile(regular_expression(partitions.pattern))
    for key in sorted(present):
        if begin := _begin(expression.fullmatch(key)):
            files[begin].append(key)
    marker = partitions.success_file
    return {begin: files[begin] for begin in sorted(files) if marker is None or path_of(marker, begin) in present}


def expected_partitions(partitions: Partitions, interval: Interval) -> list[datetime]:
    """Start of each partition of the interval; raise ParamsError if none starts in it."""
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
    """Partitions that begin within the interval; all without one."""
    return {at: files for at, files in found.items() if interval is None or interval.start <= at < interval.end}


def missing_partitions(found: Files, *, partitions: Partitions, interval: Interval) -> list[datetime]:
    """Begins of the partitions that the interval lacks; with `allow_gaps`, only where it lacks all."""
    expected = expected_partitions(partitions, interval)
    missing = [begin for begin in expected if begin not in found]
    return [] if partitions.allow_gaps and len(missing) < len(expected) else missing


def explain_missing(missing: Sequence[datetime], found: Files, *, partitions: Partitions, interval: Interval) -> str:
    """Message of what was expected where, what there is (`found`, of any time), and what to do."""
    return (
        f"{partitions.root}: no partition {_names(missing, partitions)}{_marked(partitions)}, expected for the "
        f"interval {_text(interval)}; {describe(found, partitions)}. Run again when it has arrived; if it never will, "
        "allow_gaps lets an interval of several partitions lack some"
    )


def describe(found: Files, partitions: Partitions) -> str:
    """Words for the partitions that there are."""
    if not found:
        return f"there is none {partitions.pattern}{_marked(partitions)}"
    first, last = (path_of(partitions.pattern, begin) for begin in (min(found), max(found)))
    return f"there is {first}" if len(found) == 1 else f"there are {len(found)}, {first} to {last}"


def common_prefix(partitions: Partitions, interval: Interval) -> str:
    """Common prefix of the names of all files of the interval: nothing else needs to be listed."""
    expected = expected_partitions(partitions, interval)
    paths = [path for path in (partitions.pattern, partitions.success_file) if path is not None]
    ends = [path_of(path, begin).partition("*")[0] for path in paths for begin in (expected[0], expected[-1])]
    return os.path.commonprefix(ends)  # noqa: RUF071 - by character is meant: days sort as text


def path_of(path: str, begin: datetime) -> str:
    """Path of the settings for the partition that begins then.

    >>> path_of("date={date}/*.csv", datetime(2026, 11, 20, tzinfo=UTC))
    'date=2026-11-20/*.csv'
    """
    return path.replace("{date}", begin.date().isoformat()).replace("{hour}", f"{begin.hour:02}")


def _require_path(path: str, *, name: str) -> None:
    """Raise ValueError unless the path says when a partition begins. Hour after date: so names sort by time."""
    if re.findall(r"\{.*?\}|[{}]", path) not in (["{date}"], ["{date}", "{hour}"]):
        raise ValueError(f"{name} {path!r} must have {{date}} once, after it {{hour}} or not, and no other braces")
    require_below_root(path, name=name)


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
