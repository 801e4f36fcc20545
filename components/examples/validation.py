"""Raw rows against what params.yaml says of them: typed where they fit, counted and named where they don't."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from headrace.components.errors import DataError
from headrace.components.examples.derive import with_derived
from headrace.components.printable import printable
from headrace.components.schema.example_schema import RowSchema
from headrace.components.schema.feature_types.feature_type import Rule, raw
from headrace.components.schema.numbers import as_number
from headrace.components.schema.times import parse_time, written
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


def check_part(part: RawPart, schema: RowSchema) -> CheckedPart:
    """The rows whose every value fits, typed; a row that fails is reported by its first wrong value."""
    part = _with_derived(part, schema)
    columns = schema.columns
    found = part.table.schema  # once: each use of the property makes it again, of all columns
    typed = part.table.select(feature.parsed(name, found[name]) for name, feature in columns.items())
    rules = [Rule(name, "missing", "a key", raw(name).is_null()) for name in schema.key]
    rules += [Rule(name, "missing", "a group", raw(name).is_null()) for name in schema.group]
    if schema.time:
        time = parse_time(raw(schema.time.column).cast(pl.String), schema.time.date_format)
        rules.append(Rule(schema.time.column, "not a time", written(schema.time.date_format), time.is_null()))
    rules += _weight_rules(schema.sample_weight, found) if schema.sample_weight else []
    rules += [rule for name, feature in columns.items() for rule in feature.rules(name, found)]
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
        name: part.files.get(name) or part.files[schema.columns[name].read_from(name)[0]]
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


def _rejected(part: RawPart, broken: pl.Series, rules: Sequence[Rule]) -> pl.DataFrame:
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
    if isinstance(dtype, pl.Array) and dtype.inner == pl.UInt8:
        return pl.format("pixels of up to {}", value.arr.max())
    if isinstance(dtype, pl.Array | pl.List):
        items = value.cast(pl.List(pl.String)).list.eval(pl.element().fill_null("null"))
        return pl.format("[{}]", items.list.join(", ").str.slice(0, 200))
    return value.cast(pl.String)


def _broken_rules(rules: Sequence[Rule], both: pl.DataFrame) -> dict[int, Rule]:
    """The rules that any row breaks, by their places.

    A few at a time, on their own columns: Polars' plan of a selection grows with the square of its columns.
    """
    broken: dict[int, Rule] = {}
    for start in range(0, len(rules), _RULES_AT_ONCE):
        some = dict(enumerate(rules[start : start + _RULES_AT_ONCE], start))
        names = {name for rule in some.values() for name in rule.fails.meta.root_names()}
        fails = both[sorted(names)].select(rule.fails.any().alias(str(place)) for place, rule in some.items())
        broken |= {
            place: rule for (place, rule), is_broken in zip(some.items(), fails.row(0), strict=True) if is_broken
        }
    return broken


def _first_broken(rules: Mapping[int, Rule], both: pl.DataFrame) -> pl.Series:
    """The place of the first rule that each row breaks, or null."""
    places = (pl.when(rule.fails).then(pl.lit(place, pl.Int64)) for place, rule in rules.items())
    return both.select(pl.coalesce(places).alias("broken")).to_series()


def _weight_rules(name: str, found: Mapping[str, pl.DataType]) -> list[Rule]:
    weight = as_number(raw(name), found[name], None)
    is_one = weight.is_between(0, _LARGEST_WEIGHT).fill_null(False)
    return [
        Rule(name, "missing", "a weight", raw(name).is_null()),
        Rule(name, "not a weight", "a finite number of at least 0", ~is_one),
    ]
