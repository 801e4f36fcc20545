"""Raw rows against what params.yaml says of them: typed where they fit, counted and named where they don't."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from components.errors import DataError
from components.examples.schema import value_columns
from components.examples.settings import CategoryFeature, Feature, ImageFeature, Label, NumberFeature
from components.sources.part import RawPart

_FAILURES_SHOWN = 5


@dataclass(frozen=True)
class CheckedPart:
    """The rows of a part that passed, raw and typed (the same rows), and what became of the others."""

    raw: RawPart
    typed: pl.DataFrame
    rows_read: int
    rejected_by_reason: Mapping[str, int]
    failures: Sequence[str]


@dataclass(frozen=True)
class _Rule:
    """One way in which a column's value can be wrong."""

    column: str
    reason: str
    expected: str
    fails: pl.Expr


def check_part(part: RawPart, *, features: Mapping[str, Feature], label: Label, key: Sequence[str] = ()) -> CheckedPart:
    """Return the rows whose every value fits, typed; a row that fails is counted under its first wrong value."""
    columns = value_columns(features, label)
    typed = part.table.select(_parse(name, part.table.schema[name], feature) for name, feature in columns.items())
    rules = [_Rule(name, "missing", "a key", _raw(name).is_null()) for name in key]
    rules += [rule for name, feature in columns.items() for rule in _rules(name, feature)]
    broken = _first_broken(rules, typed, part.table)
    passed = broken.is_null()
    return CheckedPart(
        raw=RawPart(part.table.filter(passed), part.files, part.given_split),
        typed=typed.filter(passed),
        rows_read=part.table.height,
        rejected_by_reason=_count(broken, rules),
        failures=[_describe(part, row, rules[broken[row]]) for row in (~passed).arg_true()[:_FAILURES_SHOWN]],
    )


def require_few_failures(parts: Sequence[CheckedPart], *, max_bad_fraction: float) -> None:
    """Raise DataError, naming the first wrong values, if a larger share of the rows than `max_bad_fraction` failed."""
    read = sum(part.rows_read for part in parts)
    rejected = read - sum(part.typed.height for part in parts)
    if rejected <= max_bad_fraction * read:
        return
    failures = [failure for part in parts for failure in part.failures][:_FAILURES_SHOWN]
    more = f"\n  and {rejected - len(failures)} rows more" if rejected > len(failures) else ""
    raise DataError(
        f"{rejected} of {read} rows do not fit the schema (max_bad_fraction is {max_bad_fraction:g}):\n  "
        + "\n  ".join(failures)
        + more
    )


def _raw(name: str) -> pl.Expr:
    """Return the column as it was read; pl.col(name) is the typed one."""
    return pl.col(f"raw {name}")


def _first_broken(rules: Sequence[_Rule], typed: pl.DataFrame, raw: pl.DataFrame) -> pl.Series:
    """Return, for each row, the place of the first rule that it breaks, or null."""
    both = pl.concat([typed, raw.select(pl.all().name.prefix("raw "))], how="horizontal")
    places = (pl.when(rule.fails).then(pl.lit(place, pl.Int64)) for place, rule in enumerate(rules))
    return both.select(pl.coalesce(places).alias("broken")).to_series()


def _parse(name: str, found: pl.DataType, feature: Feature) -> pl.Expr:
    """Return the typed column; null where the value is missing or can't be read."""
    column = pl.col(name)
    match feature:
        case ImageFeature():
            return column
        case NumberFeature():
            text = column.str.strip_chars() if found == pl.String else column
            return text.cast(pl.Float64, strict=False)
        case CategoryFeature(classes=classes) if found != pl.String:
            return _class_of_number(column, classes)
        case CategoryFeature():
            return pl.when(column != "").then(column)  # "" stands for a missing category where a model is served


def _class_of_number(column: pl.Expr, classes: Sequence[str] | None) -> pl.Expr:
    """Return the class that a number stands for: the one so named or, where names are words, the one at that place."""
    if classes is None or all(name.isdecimal() for name in classes):
        return column.cast(pl.String)
    return column.cast(pl.Int64).replace_strict(range(len(classes)), classes, default=None, return_dtype=pl.String)


def _rules(name: str, feature: Feature) -> list[_Rule]:
    match feature:
        case ImageFeature():
            return [
                _Rule(name, "missing", "an image", _raw(name).is_null()),
                _Rule(name, "out of range", _range(feature), pl.col(name).arr.max() > feature.maximum),
            ]
        case NumberFeature():
            return _number_rules(name, feature)
        case CategoryFeature():
            return _category_rules(name, feature)


def _category_rules(name: str, feature: CategoryFeature) -> list[_Rule]:
    missing = _raw(name).is_null() | (_raw(name).cast(pl.String) == "")
    rules = [] if feature.nullable else [_Rule(name, "missing", "a value", missing)]
    if feature.classes is not None:
        known = pl.col(name).is_in(feature.classes).fill_null(False)
        rules.append(_Rule(name, "unknown class", f"one of {', '.join(feature.classes)}", ~missing & ~known))
    return rules


def _number_rules(name: str, feature: NumberFeature) -> list[_Rule]:
    value, missing = pl.col(name), _raw(name).is_null()
    rules = [
        _Rule(name, "not a number", "a number", value.is_null() & ~missing),
        _Rule(name, "not finite", "a finite number", ~value.is_finite()),
    ]
    if not feature.nullable:
        rules.append(_Rule(name, "missing", "a number", missing))
    if feature.minimum is not None:
        rules.append(_Rule(name, "out of range", _range(feature), value < feature.minimum))
    if feature.maximum is not None:
        rules.append(_Rule(name, "out of range", _range(feature), value > feature.maximum))
    return rules


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


def _count(broken: pl.Series, rules: Sequence[_Rule]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for number, count in broken.drop_nulls().value_counts(sort=False).sort(broken.name).iter_rows():
        reason = f"{rules[number].column}: {rules[number].reason}"
        counts[reason] = counts.get(reason, 0) + count
    return counts


def _describe(part: RawPart, row: int, rule: _Rule) -> str:
    match part.table[rule.column][row]:
        case None:
            found = "nothing"
        case pl.Series() as pixels:
            found = f"pixels of up to {pixels.sort(descending=True)[0]}"
        case value:
            found = repr(value)
    return f"{part.files[rule.column]}, row {row + 1}, column {rule.column!r}: expected {rule.expected}, found {found}"
