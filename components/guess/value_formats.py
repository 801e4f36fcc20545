"""How the numbers and dates of a table's columns are written, and what else could be meant."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import polars as pl

from headrace.components.guess.texts import as_numbers, date_formats
from headrace.components.schema.number_format import NumberFormat
from headrace.components.schema.numbers import MINUS, plain

PLAIN = NumberFormat()
_CODES = "USD|EUR|GBP|CHF|JPY|CNY|RMB|INR|KRW|BRL|CAD|AUD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|RON|RUB|TRY|ZAR|MXN|SGD|HKD"
_NAMES = r"kr\.?|zł|Kč|Ft|lei|Rs\.?|Fr\.?"
_UNIT = rf"([A-Z]{{0,3}}\p{{Sc}}|%|‰|{_CODES}|{_NAMES})"
_SEPARATORS = {",": ",", ".": r"\.", " ": r"[\p{Zs}]", "'": "['\N{RIGHT SINGLE QUOTATION MARK}]"}
_FIRST = 100  # of the values: nearly always enough to see that a column is none of numbers


@dataclass(frozen=True)
class Written:
    """How a column of numbers or dates is written; `other` is a format that fits all of it as well, as YAML.

    `bare` is a number that lacks the unit that others have.
    """

    number_format: NumberFormat | None = None
    date_format: str | None = None
    other: str | None = None
    bare: str | None = None

    @property
    def taken(self) -> str:
        """The format, as YAML."""
        return _as_yaml(self.number_format) if self.number_format else repr(self.date_format)

    @property
    def settings(self) -> dict[str, object]:
        """The keys of a feature or label that say so; none for plain numbers."""
        if self.date_format is not None:
            return {"date_format": self.date_format}
        if self.number_format is None:
            return {}
        return {"number_format": self.number_format.model_dump(exclude_defaults=True)}


def how_written(table: pl.DataFrame, *, separator: str = ",") -> dict[str, Written]:
    """Format of each column of numbers that are not plain, or of dates. Null is an empty cell.

    What fits in two ways is read like the columns of the table that fit in one.
    """
    values = {column.name: column.drop_nulls().unique() for column in table}
    numbers = {name: fitting for name, texts in values.items() if (fitting := number_formats(texts))}
    others = {name: texts for name, texts in values.items() if name not in numbers}
    dates = {name: formats for name, texts in others.items() if (formats := date_formats(texts))}
    decimal = _decimal(numbers, values) or ("," if separator == ";" else None)
    day_first = _day_first(dates.values())
    return _written_numbers(numbers, values, decimal) | _written_dates(dates, day_first=day_first)


def _written_numbers(
    numbers: Mapping[str, tuple[NumberFormat, ...]], values: Mapping[str, pl.Series], decimal: str | None
) -> dict[str, Written]:
    found = {}
    for name, formats in numbers.items():
        chosen = next((one for one in formats if one.decimal == decimal), formats[0])
        other = next((one for one in formats if one != chosen), None)
        if chosen != PLAIN or as_numbers(values[name]).has_nulls():  # 1.234 is nearly always what it seems
            bare = values[name].filter(~values[name].str.contains(chosen.unit, literal=True))
            found[name] = Written(
                number_format=chosen,
                other=_as_yaml(other) if other else None,
                bare=bare[0] if len(bare) else None,
            )
    return found


def _written_dates(dates: Mapping[str, tuple[str, ...]], *, day_first: bool | None) -> dict[str, Written]:
    found = {}
    for name, formats in dates.items():
        chosen = next((one for one in formats if _is_day_first(one) == day_first), formats[0])
        other = next((repr(one) for one in formats if one != chosen), None)
        found[name] = Written(date_format=chosen, other=other)
    return found


def _as_yaml(number_format: NumberFormat) -> str:
    settings = number_format.model_dump(exclude_defaults=True)
    return f"{{{', '.join(f'{key}: {value!r}' for key, value in settings.items())}}}" if settings else "null"


def in_plain_notation(table: pl.DataFrame, written: Mapping[str, Written]) -> pl.DataFrame:
    """Return a table of texts with its numbers in plain notation."""
    return table.with_columns(
        plain(pl.col(name), pl.String(), one.number_format)
        for name, one in written.items()
        if one.number_format is not None
    )


def number_formats(values: pl.Series) -> tuple[NumberFormat, ...]:
    """Return the formats in which different texts are all numbers, the likeliest first; none where there are no texts.

    A format has no mark that does not occur.
    """
    formats = _candidates(values[:_FIRST]) if len(values) else ()
    if len(values) > _FIRST and formats:
        formats = _candidates(values)
    return tuple(one for one in formats if _fits(values[:_FIRST], one) and _fits(values, one))


def _fits(values: pl.Series, one: NumberFormat) -> bool:
    texts = values.alias("text").to_frame().select(plain(pl.col("text"), pl.String(), one)).to_series()
    return not as_numbers(texts).has_nulls()


def _candidates(values: pl.Series) -> tuple[NumberFormat, ...]:
    units = values.str.extract(_UNIT).drop_nulls().unique().to_list()
    if len(units) > 1:
        return ()
    unit = units[0] if units else ""
    bare = values.str.replace_all(unit, "", literal=True).str.strip_chars() if unit else values.str.strip_chars()
    digits = bare.str.strip_chars("+-\N{MINUS SIGN}()").str.strip_chars()
    marks = [mark for mark, pattern in _SEPARATORS.items() if digits.str.contains(pattern).any()]
    negative = "minus"
    if bare.str.contains(r"\(").any():
        negative = "parentheses"
    elif bare.str.contains(rf"[0-9]\s*{MINUS}$").any():
        negative = "trailing"
    return tuple(
        NumberFormat.model_validate({"decimal": decimal, "thousands": thousands, "unit": unit, "negative": negative})
        for decimal, thousands in _marked(marks)
    )


def _marked(marks: list[str]) -> list[tuple[str, str]]:
    """Pairs of decimal and thousands mark, the likeliest first, in which each mark that occurs has a meaning."""
    pairs = [(".", ""), (".", ","), (",", ""), (",", "."), *((decimal, mark) for mark in " '" for decimal in ".,")]
    return [
        (decimal, thousands)
        for decimal, thousands in pairs
        if {*marks} <= {decimal, thousands} and (thousands in marks or not thousands)
        if decimal in marks or decimal == "." or thousands == "."  # whole numbers with points need no comma
    ]


def _decimal(numbers: Mapping[str, tuple[NumberFormat, ...]], values: Mapping[str, pl.Series]) -> str | None:
    """The decimal mark of most columns that have a mark and fit with one decimal mark only."""
    decimals = Counter(
        formats[0].decimal
        for name, formats in numbers.items()
        if len({one.decimal for one in formats}) == 1 and values[name].str.contains("[.,]").any()
    )
    return decimals.most_common(1)[0][0] if decimals else None


def _day_first(columns: Collection[tuple[str, ...]]) -> bool | None:
    """Whether the columns that fit with one order of day and month only have the day first."""
    decisive = Counter(_is_day_first(formats[0]) for formats in columns if len(formats) == 1)
    return decisive.most_common(1)[0][0] if decisive else None


def _is_day_first(date_format: str) -> bool:
    return date_format.find("%d") < date_format.find("%m")
