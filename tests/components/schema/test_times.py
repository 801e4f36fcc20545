"""Dates and times, held against Python's own `datetime.strptime` and `fromisoformat`."""

from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from headrace.components.schema.date_formats import checked_date_format
from headrace.components.schema.example_schema import TimeColumn
from headrace.components.schema.feature_types.number_feature import NumberFeature
from headrace.components.schema.times import parse_time

DATES = ("%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d%m%Y", "%Y%m%d", "%y-%m-%d", "%d %b %Y", "%B %d, %Y", "%Y %j", "%Y-%m")
DATES += ("%G-W%V-%u", "%Y %U %w", "%Y %W %a", "%A %d %B %Y", "%x", "%c", "%%%Y-%m-%d", "ä%d.%m.%Y")
TIMES = ("", " %H:%M", "T%H:%M:%S", " %I:%M %p", "T%H:%M:%S.%f", " %H:%M:%S,%f", " %X", " %H:%M%z", " %H:%M:%S %z")
ZONES = st.builds(lambda minutes: timezone(timedelta(minutes=minutes)), st.integers(-23 * 60, 23 * 60))
MOMENTS = st.datetimes(datetime(1000, 1, 3), datetime(9999, 12, 30), timezones=ZONES)  # noqa: DTZ001


def parsed(text: str, date_format: str) -> datetime | None:
    return pl.DataFrame({"text": [text]}).select(parse_time(pl.col("text"), date_format)).item()


def by_python(text: str, date_format: str) -> datetime | None:
    try:
        moment = datetime.strptime(text, date_format)  # noqa: DTZ007
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return moment if moment.year >= 1000 else None


@settings(max_examples=300, deadline=None)
@given(
    moment=MOMENTS,
    date_format=st.builds(str.__add__, st.sampled_from(DATES), st.sampled_from(TIMES)),
    change=st.sampled_from(["none", "no zeros", "cut", "more", "upper", "lower", "digit"]),
    place=st.integers(0, 40),
)
def test_a_format_is_read_as_strptime_reads_it(moment: datetime, date_format: str, change: str, place: int) -> None:
    text = moment.strftime(date_format)
    match change:
        case "no zeros":
            text = text.replace("-0", "-").replace(".0", ".").replace(" 0", " ").replace(":0", ":")
        case "cut":
            text = text[:place]
        case "more":
            text += "0"
        case "upper" | "lower":
            text = getattr(text, change)()
        case "digit":
            text = f"{text[:place]}7{text[place + 1 :]}"
    assume(text == text.strip() and _is_valid(date_format))
    assert parsed(text, date_format) == by_python(text, date_format)


def _is_valid(date_format: str) -> bool:
    try:
        return bool(checked_date_format(date_format))
    except ValueError:
        return False  # a directive that comes twice


@settings(max_examples=200, deadline=None)
@given(moment=MOMENTS, spec=st.sampled_from(["hours", "minutes", "seconds", "milliseconds", "microseconds"]))
@example(moment=datetime(2026, 11, 20, tzinfo=UTC), spec="minutes")
def test_iso_8601_is_read_as_python_reads_it(moment: datetime, spec: str) -> None:
    for one in (moment, moment.replace(tzinfo=None)):
        for separator in "T ":
            text = one.isoformat(separator, spec)
            expected = datetime.fromisoformat(text)
            expected = expected.astimezone(UTC) if expected.tzinfo else expected.replace(tzinfo=UTC)
            assert parsed(text, "iso") == (expected if expected.year >= 1000 else None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20T12:00", "2026-11-20T12:00:00"),
        ("2026-11-20 12:00", "2026-11-20T12:00:00"),
        ("2026-11-20T12:00Z", "2026-11-20T12:00:00"),
        ("2026-11-20T12:00+05:30", "2026-11-20T06:30:00"),
        ("2026-11-20T12", "2026-11-20T12:00:00"),
        ("2026-11-20T12:00:00,5Z", "2026-11-20T12:00:00.500000"),
        ("20261120T120000Z", "2026-11-20T12:00:00"),
        ("2026-W47-5", "2026-11-20T00:00:00"),
        (" 2026-11-20 ", "2026-11-20T00:00:00"),
        ("20261120", None),  # a number, as likely
        ("2026-11-20x12:00", None),
        ("2026-11-31T12:00", None),
        ("2026-11-20T12:0", None),
        ("0999-11-20", None),
        ("", None),
    ],
)
def test_texts_of_iso_8601(text: str, expected: str | None) -> None:
    found = parsed(text, "iso")
    assert (found and found.replace(tzinfo=None).isoformat()) == expected


@pytest.mark.parametrize(
    ("date_format", "text", "expected"),
    [
        ("%Y-%m-%dT%H:%M:%S.%f", "2026-01-02T03:04:05.5", "2026-01-02T03:04:05.500000+00:00"),
        ("%Y-%m-%dT%H:%M:%S.%f", "2026-01-02T03:04:05.123456", "2026-01-02T03:04:05.123456+00:00"),
        ("%d.%m.%Y %H:%M", "20.11.2026 13:05:59", None),
        ("%d.%m.%Y %H:%M", "20.11.2026", None),
        ("%Y-%m-%d %H:%M %z", "2026-03-04 13:30 -0800", "2026-03-04T21:30:00+00:00"),
        ("%m/%d/%Y %I:%M %p", "03/04/2026 13:30 PM", None),
        ("%d.%m.%Y", "20.11.26", None),
        ("%Y-%m-%d %Z", "2026-11-20 gmt", "2026-11-20T00:00:00+00:00"),
        ("%Y-%m-%d %Z", "2026-11-20 CET", None),  # strptime reads it where that is the machine's zone
    ],
)
def test_texts_of_a_format(date_format: str, text: str, expected: str | None) -> None:
    found = parsed(text, date_format)
    assert (found and found.isoformat()) == expected


def test_a_column_may_be_empty_or_without_a_value() -> None:
    for values in ([], [None, None]):
        for date_format in ("iso", "%d.%m.%Y", "%d.%m.%y"):
            table = pl.DataFrame({"text": pl.Series(values, dtype=pl.String)})
            assert table.select(parse_time(pl.col("text"), date_format)).to_series().to_list() == values


@pytest.mark.parametrize(
    ("date_format", "message"),
    [
        ("%H:%M", "no year"),
        ("%d.%m.", "no year"),
        ("%Y-%m-%d %T", "strptime has no %T"),
        ("%Y %e", "strptime has no %e"),
        ("%Y-%m-%dT%H:%M:%S%.f", r"strptime has no %\."),
        ("%-d.%m.%Y", "strptime has no %-"),
        ("%Y-%m-%d%", "strptime has no %"),
        ("%Y-%m-%d %Y", "no format of strptime"),
        ("%G-W%V", "no format of strptime"),
        ("%Y-W%V-%u", "no format of strptime"),
    ],
)
def test_a_format_from_which_no_moment_can_come_is_refused_when_it_is_read(date_format: str, message: str) -> None:
    for make in (
        lambda: NumberFeature(date_format=date_format),
        lambda: TimeColumn(column="t", date_format=date_format),
    ):
        with pytest.raises(ValueError, match=message):
            make()


FILES = {
    "fm9.csv": ("%Y-%m-%dT%H:%M:%S.%f", ["03:04:05.123456", "03:04:05.500000", "03:04:05.123000"]),
    "hm.csv": ("%d.%m.%Y %H:%M", ["13:05:00", None, None]),
    "pctz.csv": ("%Y-%m-%d %H:%M %z", ["08:00:00", "08:00:00", "21:30:00", "13:30:00"]),
    "pctfmt.csv": ("%m/%d/%Y %I:%M %p", ["13:30:00", "00:30:00", "13:30:00", None, "13:30:00"]),
}


@pytest.mark.parametrize(("name", "date_format", "expected"), [(name, *case) for name, case in FILES.items()])
def test_files_that_other_readers_got_wrong(cases, name: str, date_format: str, expected: list[str | None]) -> None:
    table = pl.read_csv(cases / "tables" / name, separator=";", infer_schema=False)
    found = table.select(parse_time(pl.col("v"), date_format)).to_series()
    assert [moment and moment.time().isoformat() for moment in found] == expected
