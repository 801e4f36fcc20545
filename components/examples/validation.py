"""Raw rows against what params.yaml says of them: typed where they fit, counted and named where they don't."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import polars as pl

from headrace.components.errors import DataError
from headrace.components.examples.derive import with_derived
from headrace.components.printable import printable
from headrace.components.schema.example_schema import RowSchema
from headrace.components.schema.features import (
    CategoryFeature,
    Feature,
    ImageFeature,
    NumberFeature,
    TextFeature,
    read_from,
)
from headrace.components.schema.numbers import as_number, plain
from headrace.components.schema.times import MICROSECONDS_A_DAY, parse_time, written
from headrace.components.sources.raw_part import RawPart
from headrace.components.sources.rejected_rows import REJECTED

_RULES_AT_ONCE = 256
_FAILURES_SHOWN = 5
_LARGEST_WEIGHT = 3e38  # as float32


@dataclass(frozen=True)
class CheckedPart:
    """The rows of a part that passed, raw and typed (the same rows), and of the others what is wrong with them.

    `rejected` has the columns of `REJECTED`: rows are counted from 1, `values` is the whole raw row as JSON.
    """

    raw: RawPart
    typed: pl.DataFrame
    rejected: pl.DataFrame


@dataclass(frozen=True)
class _Rule:
    """One way in which a column's value can be wrong."""

    column: str
    reason: str
    expected: str
    fails: pl.Expr


def check_part(part: RawPart, schema: RowSchema) -> CheckedPart:
    """The rows whose every value fits, typed; a row that fails is reported by its first wrong value."""
    part = _with_derived(part, schema)
    columns = schema.columns
    found = part.table.schema  # once: each use of the property makes it again, of all columns
    typed = part.table.select(_parse(name, found[name], feature) for name, feature in columns.items())
    rules = [_Rule(name, "missing", "a key", _raw(name).is_null()) for name in schema.key]
    rules += [_Rule(name, "missing", "a group", _raw(name).is_null()) for name in schema.group]
    if schema.time:
        time = parse_time(_raw(schema.time.column).cast(pl.String), schema.time.date_format)
        rules.append(_Rule(schema.time.column, "not a time", written(schema.time.date_format), time.is_null()))
    rules += _weight_rules(schema.sample_weight, found) if schema.sample_weight else []
    rules += [rule for name, feature in columns.items() for rule in _rules(name, feature, found)]
    both = pl.concat([typed, part.table.select(pl.all().name.prefix("raw "))], how="horizontal")
    broken_rules = _broken_rules(rules, both)
    if not broken_rules:
        return CheckedPart(part, typed, pl.DataFrame(schema=REJECTED))
    broken = _first_broken(broken_rules, both)
    passed = broken.is_null()
    return CheckedPart(
        raw=RawPart(part.table.filter(passed), part.files, part.given_split),
        typed=typed.filter(passed),
        rejected=_rejected(part, broken, rules),
    )


def _with_derived(part: RawPart, schema: RowSchema) -> RawPart:
    """The part with the columns of derived features, each of the file that its first column is from."""
    table = with_derived(part.table, schema.columns)
    files = {
        name: part.files.get(name) or part.files[read_from(name, schema.columns[name])[0]]
        for name in table.columns
        if name in part.files or name in schema.columns
    }
    return replace(part, table=table, files={**part.files, **files})


def require_few_failures(
    rejected: pl.DataFrame, *, rows_rejected: int, rows_read: int, max_bad_fraction: float
) -> None:
    """Raise DataError, naming the first wrong values, if a larger share of the rows than `max_bad_fraction` failed.

    `rejected` has the first of the rejected rows at least.
    """
    if rows_rejected <= max_bad_fraction * rows_read:
        return
    failures = [describe(row) for row in rejected.head(_FAILURES_SHOWN).iter_rows(named=True)]
    more = f"\n  and {rows_rejected - len(failures)} rows more" if rows_rejected > len(failures) else ""
    raise DataError(
        f"{rows_rejected} of {rows_read} rows do not fit the schema (max_bad_fraction is {max_bad_fraction:g}):\n  "
        + "\n  ".join(failures)
        + more
    )


def describe(row: Mapping[str, object]) -> str:
    """Reason for which a row was rejected, in one line."""
    found = "nothing" if row["found"] is None else row["found"]
    place = f"{row['file']}, row {row['row']}, column {row['column']!r}"
    return printable(f"{place}: expected {row['expected']}, found {found}")


def count_by_reason(rejected: pl.LazyFrame) -> dict[str, int]:
    """Number of rejected rows, by column and reason."""
    counts = rejected.group_by(reason=pl.format("{}: {}", "column", "reason")).len().sort("reason")
    return dict(counts.collect().iter_rows())


def _rejected(part: RawPart, broken: pl.Series, rules: Sequence[_Rule]) -> pl.DataFrame:
    """Every row that breaks a rule, in order."""
    texts = [name for name, dtype in part.table.schema.items() if dtype not in (pl.Binary,) and not dtype.is_nested()]
    tables = []
    for place in broken.drop_nulls().unique():
        rule = rules[place]
        found = (broken == place).fill_null(False).arg_true()
        own = part.rows[found] if part.rows is not None else None
        tables.append(
            part.table[found].select(
                file=pl.lit(part.files[rule.column]) if own is None else own["file"],
                row=(found + 1).cast(pl.Int64) if own is None else own["row"],
                column=pl.lit(rule.column),
                reason=pl.lit(rule.reason),
                expected=pl.lit(rule.expected),
                found=_found(rule.column, part.table.schema[rule.column]),
                values=pl.struct(texts).struct.json_encode() if texts else pl.lit("{}"),
            )
        )
    rejected: pl.DataFrame = pl.concat(tables)
    return rejected.sort("row")


def _found(column: str, dtype: pl.DataType) -> pl.Expr:
    value = pl.col(column)
    if dtype == pl.String:
        return pl.when(value.is_not_null()).then(pl.format("'{}'", value.str.slice(0, 200)))
    if isinstance(dtype, pl.Array):
        return pl.format("pixels of up to {}", value.arr.max())
    return value.cast(pl.String)


def _raw(name: str) -> pl.Expr:
    """Return the column as it was read; pl.col(name) is the typed one."""
    return pl.col(f"raw {name}")


def _broken_rules(rules: Sequence[_Rule], both: pl.DataFrame) -> dict[int, _Rule]:
    """The rules that any row breaks, by their places.

    A few at a time, on their own columns: Polars' plan of a selection grows with the square of its columns.
    """
    broken: dict[int, _Rule] = {}
    for start in range(0, len(rules), _RULES_AT_ONCE):
        some = dict(enumerate(rules[start : start + _RULES_AT_ONCE], start))
        names = {name for rule in some.values() for name in rule.fails.meta.root_names()}
        fails = both[sorted(names)].select(rule.fails.any().alias(str(place)) for place, rule in some.items())
        broken |= {
            place: rule for (place, rule), is_broken in zip(some.items(), fails.row(0), strict=True) if is_broken
        }
    return broken


def _first_broken(rules: Mapping[int, _Rule], both: pl.DataFrame) -> pl.Series:
    """The place of the first rule that each row breaks, or null."""
    places = (pl.when(rule.fails).then(pl.lit(place, pl.Int64)) for place, rule in rules.items())
    return both.select(pl.coalesce(places).alias("broken")).to_series()


def _parse(name: str, found: pl.DataType, feature: Feature) -> pl.Expr:
    """Return the typed column; null where the value is missing or can't be read."""
    column = pl.col(name)
    match feature:
        case ImageFeature():
            return column
        case TextFeature():
            return column.cast(pl.String)
        case NumberFeature(date_format=str(date_format)):
            days = parse_time(column.cast(pl.String), date_format).dt.timestamp("us") / MICROSECONDS_A_DAY
            return days.alias(name)
        case NumberFeature():
            return as_number(column, found, feature.number_format)
        case CategoryFeature(classes=classes) if found != pl.String:
            return _class_of_number(column, classes)
        case CategoryFeature():
            return pl.when(column != "").then(column)  # "" stands for a missing category where a model is served


def _class_of_number(column: pl.Expr, classes: Sequence[str] | None) -> pl.Expr:
    """Return the class that a number stands for: the one so named or, where names are words, the one at that place."""
    if classes is None or all(name.isdecimal() for name in classes):
        return column.cast(pl.String)
    return column.cast(pl.Int64).replace_strict(range(len(classes)), classes, default=None, return_dtype=pl.String)


def _rules(name: str, feature: Feature, found: Mapping[str, pl.DataType]) -> list[_Rule]:
    match feature:
        case ImageFeature(encoding="encoded"):
            return [_Rule(name, "missing", "an image", _raw(name).is_null())]
        case ImageFeature():
            return [
                _Rule(name, "missing", "an image", _raw(name).is_null()),
                _Rule(name, "out of range", _range(feature), pl.col(name).arr.max() > feature.maximum),
            ]
        case TextFeature():
            return [_Rule(name, "missing", "a text", _raw(name).is_null())]
        case NumberFeature():
            return _number_rules(name, feature, found)
        case CategoryFeature():
            return _category_rules(name, feature)


def _weight_rules(name: str, found: Mapping[str, pl.DataType]) -> list[_Rule]:
    weight = as_number(_raw(name), found[name], None)
    is_one = weight.is_between(0, _LARGEST_WEIGHT).fill_null(False)
    return [
        _Rule(name, "missing", "a weight", _raw(name).is_null()),
        _Rule(name, "not a weight", "a finite number of at least 0", ~is_one),
    ]


def _category_rules(name: str, feature: CategoryFeature) -> list[_Rule]:
    missing = _raw(name).is_null() | (_raw(name).cast(pl.String) == "")
    rules = [] if feature.nullable else [_Rule(name, "missing", "a value", missing)]
    if feature.pattern is not None:
        matches = pl.col(name).str.contains(f"^(?:{feature.pattern})$").fill_null(False)
        rules.append(_Rule(name, "other pattern", f"text that matches {feature.pattern}", ~missing & ~matches))
    if feature.classes is not None:
        known = pl.col(name).is_in(feature.classes).fill_null(False)
        rules.append(_Rule(name, "unknown class", f"one of {', '.join(feature.classes)}", ~missing & ~known))
    return rules


def _number_rules(name: str, feature: NumberFeature, found: Mapping[str, pl.DataType]) -> list[_Rule]:
    value, missing = pl.col(name), _raw(name).is_null()
    kind = _kind(feature)
    rules = [
        _Rule(name, "not a number", kind, value.is_null() & ~missing),
        _Rule(name, "not finite", "a finite number", ~value.is_finite()),
    ]
    if not feature.nullable:
        rules.append(_Rule(name, "missing", kind, missing))
    if feature.date_format is None:
        parts = [one for one in (name, *(feature.sum_of or ())) if one in found]  # a sum may be there as such
        exact = [one for one in parts if found[one] == pl.String or found[one].is_integer()]
        expected = "a whole number that float64 can hold"
        rules += [_Rule(one, "too many digits", expected, _lacks_digits(feature, one, found[one])) for one in exact]
    if feature.minimum is not None:
        rules.append(_Rule(name, "out of range", _range(feature), value < feature.minimum))
    if feature.maximum is not None:
        rules.append(_Rule(name, "out of range", _range(feature), value > feature.maximum))
    return rules


def _kind(feature: NumberFeature) -> str:
    if feature.date_format is not None:
        return written(feature.date_format)
    return f"a number such as {feature.number_format.example}" if feature.number_format else "a number"


def _lacks_digits(feature: NumberFeature, name: str, found: pl.DataType) -> pl.Expr:
    """Where a whole number, or text that is one, is another one as float64. Only beyond 2**53 that can be."""
    written = plain(_raw(name), found, feature.number_format)
    number = written.cast(pl.Float64, strict=False)
    is_large = (number.abs() >= 2.0**53) & number.is_finite()
    if found == pl.String:
        written = pl.when(is_large).then(written)
        return written.map_batches(_lose_digits, return_dtype=pl.Boolean, is_elementwise=True).fill_null(False)
    kept = number.cast(pl.Int128, strict=False) == written.cast(pl.Int128, strict=False)
    return is_large & ~kept.fill_null(False)


def _lose_digits(texts: pl.Series) -> pl.Series:
    words = texts.drop_nulls().unique()
    lost = pl.Series([_loses_digits(word) for word in words], dtype=pl.Boolean)
    return texts.replace_strict(words, lost, default=None, return_dtype=pl.Boolean)


def _loses_digits(text: str) -> bool:
    """Whether text is a whole number, in digits or other clothes (`1.0`, `1e3`), that float64 turns into another one.

    What float64 writes itself, as 1e23, it has not turned, unless all digits are there to be kept.
    """
    exact, nearest = Decimal(text), float(text)
    is_whole = exact == exact.to_integral_value()
    is_own = not text.lstrip("+-").isdecimal() and exact == Decimal(repr(nearest))
    return is_whole and exact != Decimal(nearest) and not is_own


def _range(feature: ImageFeature | NumberFeature) -> str:
    match feature:
        case ImageFeature():
            return f"pixels of at most {feature.maximum}"
        case NumberFeature(minimum=minimum, maximum=None):
            return f"a number of at least {minimum:g}"
        case NumberFeature(minimum=None, maximum=maximum):
            return f"a number of at most {maximum:g}"
        case NumberFeature(minimum=minimum, maximum=maximum):
            return f"a number from {minimum:g} to {maximum:g}"
