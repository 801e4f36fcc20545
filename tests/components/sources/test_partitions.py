from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace.components.errors import ParamsError
from headrace.components.sources.delimited.source import DelimitedSource
from headrace.components.sources.partitions import (
    Interval,
    Partitions,
    common_prefix,
    expected_partitions,
    files_by_partition,
    missing_partitions,
    path_of,
    within,
)

DAILY = Partitions(root="/landing")
HOURLY = Partitions(root="/landing", pattern="date={date}/hour={hour}/*.csv")
moments = st.timedeltas(timedelta(0), timedelta(days=89)).map(lambda passed: datetime(2026, 1, 1, tzinfo=UTC) + passed)


def interval(start: str, end: str) -> Interval:
    return Interval.model_validate({"start": start, "end": end})


def files_of(partitions: Partitions, times) -> list[str]:
    """One file for each partition that one of the times lies in."""
    return sorted({path_of(partitions.pattern, time).replace("*", "x") for time in times})


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([DAILY, HOURLY]), st.sets(moments, max_size=20), st.sets(moments, min_size=2, max_size=8))
def test_intervals_that_follow_each_other_read_each_file_once(partitions, times, bounds):
    found = files_by_partition(files_of(partitions, times), partitions=partitions)
    cuts = sorted({datetime(2025, 12, 31, tzinfo=UTC), *bounds, datetime(2026, 4, 1, tzinfo=UTC)})
    intervals = [Interval(start=start, end=end) for start, end in pairwise(cuts)]
    read = [name for one in intervals for files in within(found, one).values() for name in files]
    assert read == files_of(partitions, times)


@settings(max_examples=60, deadline=None)
@given(st.sets(moments, max_size=20), st.sets(moments, max_size=20), moments, st.integers(1, 10))
def test_what_arrives_in_other_intervals_changes_nothing(before, after, start, days):
    one = Interval(start=start, end=start + timedelta(days=days))
    others = [
        time for time in after if not one.start <= time.replace(hour=0, minute=0, second=0, microsecond=0) < one.end
    ]
    then = within(files_by_partition(files_of(DAILY, before), partitions=DAILY), one)
    assert within(files_by_partition(files_of(DAILY, [*before, *others]), partitions=DAILY), one) == then


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([DAILY, HOURLY]), moments, st.timedeltas(timedelta(days=1), timedelta(days=40)))
def test_expected_partitions_are_all_that_begin_in_the_interval(partitions, start, length):
    one = Interval(start=start, end=start + length)
    step = timedelta(hours=1) if partitions.is_hourly else timedelta(days=1)
    whole = one.start.replace(hour=0, minute=0, second=0, microsecond=0)
    every = [whole + number * step for number in range(24 * 42)]
    expected = expected_partitions(partitions, one)
    assert expected == [time for time in every if one.start <= time < one.end]
    prefix = common_prefix(partitions, one)
    assert all(path_of(partitions.pattern, begin).startswith(prefix) for begin in expected)


@pytest.mark.parametrize(
    ("pattern", "key", "begins"),
    [
        ("date={date}/*.csv", "date=2026-11-20/a.csv", "2026-11-20T00:00+00:00"),
        ("{date}.csv", "2026-11-20.csv", "2026-11-20T00:00+00:00"),
        ("date={date}/hour={hour}/*", "date=2026-11-20/hour=07/a", "2026-11-20T07:00+00:00"),
        ("*/{date}-*.csv", "north/2026-11-20-a.csv", "2026-11-20T00:00+00:00"),
        ("date={date}/*.csv", "date=2026-11-20/a.csv.part", None),
        ("date={date}/*.csv", "date=2026-11-20/deeper/a.csv", None),
        ("date={date}/*.csv", "date=2026-11-20/.a.csv", None),  # on its way
        ("date={date}/*", "date=2026-11-20/_SUCCESS", None),
        ("date={date}/*", "date=2026-11-20/", None),  # what some tools put into a bucket for a folder
        ("date={date}/*.csv", "date=2026-02-30/a.csv", None),  # in no calendar
        ("date={date}/*.csv", "date=latest/a.csv", None),
        ("date={date}/hour={hour}/*", "date=2026-11-20/hour=24/a", None),
        ("date={date}/a.csv", "date=2026-11-20/aXcsv", None),  # a full stop is one
    ],
)
def test_a_name_says_when_its_partition_begins(pattern, key, begins):
    found = files_by_partition([key], partitions=Partitions(root="/landing", pattern=pattern))
    assert found == ({datetime.fromisoformat(begins): [key]} if begins else {})


def test_a_partition_without_its_success_file_is_not_there():
    partitions = Partitions(root="/landing", success_file="date={date}/_SUCCESS")
    keys = ["date=2026-11-20/b.csv", "date=2026-11-20/a.csv", "date=2026-11-20/_SUCCESS", "date=2026-11-21/a.csv"]
    [files] = files_by_partition(keys, partitions=partitions).values()
    assert files == ["date=2026-11-20/a.csv", "date=2026-11-20/b.csv"]


def test_gaps_are_missing_unless_they_are_allowed():
    two_days = interval("2026-11-20", "2026-11-22")
    found = files_by_partition(["date=2026-11-21/a.csv"], partitions=DAILY)
    lenient = Partitions(root="/landing", allow_gaps=True)
    missing = [datetime(2026, 11, 20, tzinfo=UTC)]
    assert missing_partitions(found, partitions=DAILY, interval=two_days) == missing
    assert missing_partitions(found, partitions=lenient, interval=two_days) == []
    assert missing_partitions(found, partitions=lenient, interval=interval("2026-11-20", "2026-11-21")) == missing


def test_an_interval_in_which_no_partition_begins_is_a_mistake():
    with pytest.raises(ParamsError, match=r"no partition begins in the interval 2026-11-20T05:00.*schedule\.cron"):
        expected_partitions(DAILY, interval("2026-11-20T05:00", "2026-11-20T06:00"))


def test_times_are_in_utc():
    assert interval("2026-11-20", "2026-11-21T01:00+01:00") == interval("2026-11-20T00:00Z", "2026-11-21T00:00Z")


PART = {"files": [{"name": "a.csv", "url": "https://example.org/", "sha256": "0" * 64}]}
INTERVAL = {"start": "2026-11-20", "end": "2026-11-21"}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({}, "give one of parts"),
        ({"parts": [PART], "partitions": {"root": "/landing"}}, "give one of parts"),
        ({"parts": [PART], "interval": INTERVAL}, "an interval is one of partitions"),
        ({"partitions": {"root": "landing"}}, "should match pattern"),
        ({"partitions": {"root": "/landing", "glob": "*"}}, "Extra inputs"),
        ({"partitions": {"root": "/x", "pattern": "*.csv"}}, "must have {date} once"),
        ({"partitions": {"root": "/x", "pattern": "{hour}/{date}/*"}}, "must have {date} once"),
        ({"partitions": {"root": "/x", "pattern": "{date}/{minute}/*"}}, "must have {date} once"),
        ({"partitions": {"root": "/x", "pattern": "{date}/{date}"}}, "must have {date} once"),
        ({"partitions": {"root": "/x", "pattern": "../{date}"}}, "must be a path below root"),
        ({"partitions": {"root": "/x", "pattern": "/{date}/*"}}, "must be a path below root"),
        ({"partitions": {"root": "/x", "success_file": "_SUCCESS"}}, "success_file '_SUCCESS' must have {date}"),
        ({"partitions": {"root": "/x", "success_file": "{date}/*"}}, "must be one file of one partition"),
        ({"partitions": {"root": "/x", "success_file": "{date}/{hour}"}}, "must be one file of one partition"),
        ({"partitions": {"root": "/x"}, "interval": {**INTERVAL, "end": "2026-11-20"}}, "is not before end"),
    ],
)
def test_settings_that_mean_nothing_are_refused(source, message):
    with pytest.raises(ValidationError, match=message):
        DelimitedSource.model_validate({"dataset": "x", **source})


@pytest.mark.parametrize("partitions", [DAILY, HOURLY])
@pytest.mark.parametrize("year", [2026, 2028])  # 2028 has a 29th of February
def test_days_of_a_zone_with_summer_time_read_every_partition_of_the_year_once(partitions, year):
    """Airflow's intervals of a schedule in Berlin: two of them have 23 and 25 hours."""
    berlin = ZoneInfo("Europe/Berlin")
    midnights = [datetime(year, 1, 1, tzinfo=berlin) + timedelta(days=day) for day in range(366 + (year % 4 == 0))]
    cuts = [midnight.astimezone(UTC) for midnight in midnights]
    assert {(end - start) // timedelta(hours=1) for start, end in pairwise(cuts)} == {23, 24, 25}
    step = timedelta(hours=1) if partitions.is_hourly else timedelta(days=1)
    first = datetime(year - 1, 12, 31, 23, tzinfo=UTC) if partitions.is_hourly else datetime(year, 1, 1, tzinfo=UTC)
    every = [first + number * step for number in range((cuts[-1] - first + step - timedelta(seconds=1)) // step)]
    read = [
        at for start, end in pairwise(cuts) for at in expected_partitions(partitions, Interval(start=start, end=end))
    ]
    assert read == every
    assert partitions.is_hourly or (datetime(year, 2, 29, tzinfo=UTC) if year == 2028 else every[0]) in read
