"""Rows that a person brings for prediction, checked against the features."""

import difflib
from collections.abc import Callable, Mapping

import polars as pl

from components.errors import DataError
from components.examples.derive import with_derived
from components.examples.settings import CategoryFeature, Feature, ImageFeature, NumberFeature, TextFeature
from components.examples.validation import MICROSECONDS_A_DAY, parse_time, written
from components.sources.decoding import ImageError, pixels_of

Warn = Callable[[str], None]
_SHOWN_COLUMNS = 20


def checked_rows(table: pl.DataFrame, *, features: Mapping[str, Feature], warn: Warn) -> pl.DataFrame:
    """Return the features' columns in the types of example rows; other columns are left out.

    Raises DataError, naming column and row (counted from 1), for a missing column, a wrong type, and a missing value
    where the feature is not nullable. What a model can live with (an unknown category, a number out of range) is
    told to `warn`, with its count.
    """
    if table.is_empty():
        raise DataError("no rows to predict")
    table = with_derived(table, features)
    return pl.DataFrame([_checked(_column(table, name), feature, warn) for name, feature in features.items()])


def _column(table: pl.DataFrame, name: str) -> pl.Series:
    if name in table.columns:
        return table[name]
    close = difflib.get_close_matches(name, table.columns, n=1)
    hint = f"; is it {close[0]!r}?" if close else ""
    shown = ", ".join(map(repr, table.columns[:_SHOWN_COLUMNS])) + (", ..." if table.width > _SHOWN_COLUMNS else "")
    raise DataError(f"no column {name!r} among {shown}{hint}")


def _checked(values: pl.Series, feature: Feature, warn: Warn) -> pl.Series:
    match feature:
        case ImageFeature():
            return _pixels(values, feature)
        case NumberFeature():
            checked = _numbers(values) if feature.date_format is None else _days(values, feature.date_format)
            _warn_of_range(checked, feature, warn)
        case TextFeature():
            texts = values.cast(pl.String, strict=False)
            _refuse(values, texts.is_null(), "a text")
            return texts
        case CategoryFeature():
            checked = _categories(values)
            _warn_of_unknown(checked, feature, warn)
    if not feature.nullable:
        _refuse(values, checked.is_null(), "a value, because the feature is not nullable")
    return checked


def _numbers(values: pl.Series) -> pl.Series:
    if values.dtype == pl.String:
        text = values.str.strip_chars().replace("", None)
        numbers = text.cast(pl.Float64, strict=False)
        _refuse(values, text.is_not_null() & numbers.is_null(), "a number")
    elif values.dtype.is_numeric() or values.dtype in (pl.Boolean, pl.Null):
        numbers = values.cast(pl.Float64)
    else:
        raise DataError(f"column {values.name!r} has type {values.dtype}; expected numbers")
    _refuse(values, numbers.is_infinite().fill_null(value=False), "a finite number")
    return numbers.fill_nan(None)


def _days(values: pl.Series, date_format: str) -> pl.Series:
    """Return days since 1970-01-01 (UTC), as ingest makes them of dates and times."""
    if values.dtype == pl.Date or isinstance(values.dtype, pl.Datetime):
        moments = values.cast(pl.Datetime("us"))
    else:
        text = values.cast(pl.String).replace("", None)
        moments = text.to_frame().select(parse_time(pl.col(values.name), date_format)).to_series()
        _refuse(values, text.is_not_null() & moments.is_null(), written(date_format))
    return moments.dt.timestamp("us") / MICROSECONDS_A_DAY


def _categories(values: pl.Series) -> pl.Series:
    if values.dtype.is_float() and (values.drop_nulls().drop_nans() % 1 == 0).all():
        values = values.fill_nan(None).cast(pl.Int64)  # pandas makes 1.0 of 1 where a column has missing values
    if not (values.dtype.is_integer() or values.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null)):
        raise DataError(
            f"column {values.name!r} has type {values.dtype}; expected categories, as text or whole numbers"
        )
    return values.cast(pl.String).replace("", None)


def _pixels(values: pl.Series, feature: ImageFeature) -> pl.Series:
    try:
        if values.dtype == pl.Binary:
            return pixels_of(values, feature)
        return values.cast(pl.Array(pl.UInt8, feature.size))
    except ImageError as error:
        raise DataError(f"column {values.name!r}: {error}") from error
    except pl.exceptions.PolarsError as error:
        shape = " x ".join(map(str, feature.shape))
        raise DataError(
            f"column {values.name!r} has type {values.dtype}; expected lists of {feature.size} ({shape}) whole numbers "
            f"from 0 to {feature.maximum}. Images in files: give the file, or their folder, as the input"
        ) from error


def _refuse(values: pl.Series, bad: pl.Series, expected: str) -> None:
    if bad.any():
        row = bad.arg_max() or 0
        raise DataError(f"column {values.name!r}, row {row + 1}: found {values[row]!r}, expected {expected}")


def _warn_of_range(values: pl.Series, feature: NumberFeature, warn: Warn) -> None:
    low = float("-inf") if feature.minimum is None else feature.minimum
    high = float("inf") if feature.maximum is None else feature.maximum
    if outside := (~values.is_between(low, high)).sum():
        warn(f"column {values.name!r}: {outside} of {len(values)} values are outside of {low:g} to {high:g}")


def _warn_of_unknown(values: pl.Series, feature: CategoryFeature, warn: Warn) -> None:
    if feature.pattern is not None:
        others = values.filter(~values.str.contains(f"^(?:{feature.pattern})$"))
        if len(others):
            warn(
                f"column {values.name!r}: {len(others)} of {len(values)} values do not match {feature.pattern}, for "
                f"example {others[0]!r}"
            )
    if feature.classes is None:
        return
    unknown = values.filter(~values.is_in(feature.classes))
    if len(unknown):
        warn(
            f"column {values.name!r}: {len(unknown)} of {len(values)} values are none of "
            f"{', '.join(feature.classes)}, and count as 'other', for example {unknown[0]!r}"
        )
