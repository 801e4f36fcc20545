"""How dates and times are written: ISO 8601, or a format in the dialect of Python's `datetime.strptime`."""

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, Field

_DIRECTIVE = re.compile(r"%(.?)", re.DOTALL)
_KNOWN = frozenset("aAbBcdfGHIjmMpSuUVwWxXyYzZ%")
_YEARS = frozenset("cxyYG")
_SAMPLE = datetime(2026, 11, 20, 13, 5, 59, 123456, UTC)
_ZONES = ("UTC", "GMT")  # the names that mean the same on every machine
_ISO = re.compile(r"\d{4}-[\dW-]+([Tt ].+)?|\d{8}[Tt].+", re.ASCII)


def checked_date_format(date_format: str) -> str:
    """Return the format; raise ValueError for one that strptime refuses, and for one without a year."""
    if date_format == "iso":
        return date_format
    directives = _DIRECTIVE.findall(date_format)
    if unknown := [f"%{one}" for one in directives if one not in _KNOWN]:
        raise ValueError(
            f"{date_format!r}: strptime has no {unknown[0]}; a time is %H:%M:%S.%f, a day %Y-%m-%d, a zone %z"
        )
    if not _YEARS.intersection(directives):
        raise ValueError(f"{date_format!r} has no year (%Y, %y), so that no moment can come of it")
    try:
        if any(moment_of(_SAMPLE.strftime(one), date_format) is None for one in _formats(date_format)):
            raise ValueError("it does not read what it writes")
    except (ValueError, re.error, LookupError) as error:
        raise ValueError(f"{date_format!r} is no format of strptime: {error}") from error
    return date_format


DateFormat = Annotated[str, Field(pattern=r"^(iso|.*%.*)$"), AfterValidator(checked_date_format)]


def moment_of(text: str, date_format: str) -> datetime | None:
    """Return the moment in UTC, where a time without a zone is taken to be; None if the text is not written so.

    Of the names of zones (%Z) only UTC and GMT are read: what strptime makes of others depends on the machine.
    """
    for one in _formats(date_format):
        try:
            moment = datetime.strptime(text, one)  # noqa: DTZ007 - a time without a zone is in UTC
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            continue
    return None


def iso_moment_of(text: str) -> datetime | None:
    """Return the moment in UTC of a text in one of ISO 8601's forms, with a `-` within the date or a `T` after it."""
    if _ISO.fullmatch(text) is None:
        return None
    try:
        moment = datetime.fromisoformat(text.upper())
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _formats(date_format: str) -> list[str]:
    """The format with each name of a zone in the place of %Z."""
    parts = re.split(r"(%.)", date_format, flags=re.DOTALL)
    zones = _ZONES if "%Z" in parts else ("",)
    return ["".join(zone if part == "%Z" else part for part in parts) for zone in zones]
