"""What the columns of a table of texts seem to be: numbers, dates, categories, or nothing that a model learns from."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from headrace.components.errors import DataError
from headrace.components.examples.validation import check_part
from headrace.components.guess.findings import Finding, Guess, Section
from headrace.components.guess.guess_warnings import ambiguous, few, rejected_rows, totals_among, unusable
from headrace.components.guess.missing import missing_words, without
from headrace.components.guess.text_column import TEXT, with_text
from headrace.components.guess.texts import as_numbers
from headrace.components.guess.total_rows import find_totals, is_sum
from headrace.components.guess.value_formats import Written, how_written, in_plain_notation, number_formats
from headrace.components.schema.example_schema import ADDED_COLUMNS, ExampleSchema
from headrace.components.schema.number_format import NumberFormat
from headrace.components.sources.raw_part import RawPart

LEAST_ROWS = 10  # with fewer, no split has any
_SMALL_TABLE = 10_000  # rows: so few are looked at once more, for a split that suits them
_MOST_CLASSES = 1000
_MOST_CATEGORIES = 100  # a column of the model's input for each
_MOST_CLOSED = 20  # categories that are taken for all there will ever be
_MOST_CODES = 5  # whole numbers that are taken for categories
_MOST_NUMBER_CLASSES = 10  # the same, for the target
_RESERVED = {*ADDED_COLUMNS, "label", "assigned_split"}
_ID_NAME = re.compile(r"(?:^|[^A-Za-z])(?:[Ii]d|ID|[Kk]ey|[Uu]uid|UUID|[Gg]uid|GUID)$|[a-z]I[dD]$")


def guess_table(
    table: pl.DataFrame,
    *,
    targets: Sequence[str],
    is_whole: bool = True,
    separator: str = ",",
    left_out: tuple[Finding, ...] = (),
) -> Guess:
    """Probable kind of each column of a table of String; null is an empty cell.

    If the table is not whole but the first rows of more, later rows may lack any value and have any category.
    `left_out` are columns of the file that are not in the table. Raises DataError for a target that can't be learned,
    too few rows, and no column to learn from.
    """
    totals = find_totals(table) if is_whole else {}
    body = table.filter(~pl.int_range(pl.len()).is_in(list(totals)))
    words = missing_words(body, targets=targets)
    known = without(body, words).drop_nulls(targets)
    written = how_written(known, separator=separator)
    known = in_plain_notation(known, written)
    if is_whole and not totals and is_sum(known):
        totals = {table.height - 1: "each number is the sum of those above"}
        known = known[:-1]
    label, label_findings, most_frequent = _labels(known.select(targets), written, rows=body.height)
    features, findings, key = _columns(known, targets, label, written, is_whole=is_whole)
    choice = with_text(known, targets[0], features, findings)
    findings = [*choice.findings, *left_out]
    if not choice.features:
        why = "; ".join(f"{one.name or 'a column'}: {one.why}" for one in findings)
        raise DataError(f"no column to learn {', '.join(map(repr, targets))} from: {why or 'there is no other'}")
    ingest: Section = {**({"key": key} if key else {}), "features": choice.features, "label": label}
    source = {"null_values": ["", *words]} if words else {}
    whole = without(table, words)
    part = RawPart(whole, dict.fromkeys(whole.columns, "the table"))
    rejected = check_part(part, ExampleSchema.model_validate(ingest)).rejected
    if rejected.height:
        # A little more than there are, because the share is rounded.
        ingest["max_bad_fraction"] = (10_000 * rejected.height // table.height + 1) / 10_000
    warnings = [
        *few(known.height),
        *ambiguous(written, ingest),
        *choice.warnings,
        *totals_among(totals, rejected, rows=table.height),
        *rejected_rows(rejected, rows=table.height),
        *unusable(left_out),
    ]
    small = whole if is_whole and table.height <= _SMALL_TABLE else None
    return Guess(ingest, (*label_findings, *findings), known.height, most_frequent, source, tuple(warnings), small)


def _columns(
    table: pl.DataFrame, targets: Sequence[str], label: Section, written: Mapping[str, Written], *, is_whole: bool
) -> tuple[dict[str, Section], list[Finding], list[str]]:
    """The features, what was found of each column, and the key."""
    features: dict[str, Section] = {}
    findings: list[Finding] = []
    key: list[str] = []
    for column in table.drop(targets):
        how = written.get(column.name)
        left_out = _no_feature(column, table[targets[0]], label, how)
        if left_out is None:
            features[column.name], finding = _feature(column, how, is_whole=is_whole)
        elif is_whole and not key and _is_key(column):
            key = [column.name]
            finding = Finding(column.name, "key", f"{left_out}; it decides which split a row is in")
        else:
            finding = Finding(column.name, "left out", left_out, is_used=False)
        findings.append(finding)
    return features, findings, key


def _labels(
    table: pl.DataFrame, written: Mapping[str, Written], *, rows: int
) -> tuple[Section, list[Finding], float | None]:
    """The label, of one column or several numbers, and the share of its most frequent class if it is a category."""
    if table.width == 1:
        column = table.to_series()
        label, finding, most_frequent = _label(column, written.get(column.name), rows=rows)
        return label, [finding], most_frequent
    found = [_label(column, written.get(column.name), rows=rows, most_classes=0) for column in table]
    for one, finding, _ in found:
        if one["type"] != "number":
            raise DataError(f"several targets must all be numbers, and {one['name']!r} is a class: {finding.why}")
    targets = {one["name"]: {key: one[key] for key in one if key not in ("type", "name")} for one, _, _ in found}
    return {"type": "numbers", "targets": targets}, [finding for _, finding, _ in found], None


def _label(
    texts: pl.Series, written: Written | None, *, rows: int, most_classes: int = _MOST_NUMBER_CLASSES
) -> tuple[Section, Finding, float | None]:
    """The label, and the share of its most frequent class if it is a category.

    `rows` counts those without it, too. Whole numbers are classes if they are no more than `most_classes`, and occur
    often.
    """
    counts = texts.value_counts(sort=True)
    values, name = counts[texts.name], texts.name
    missing = f"; {rows - len(texts)} rows without it are left out" if rows > len(texts) else ""
    if name in ADDED_COLUMNS:
        raise DataError(f"a target can't be called {name!r}: Headrace adds a column of that name; rename it")
    if 2 * len(texts) < rows:
        raise DataError(f"{name!r} is missing in {rows - len(texts)} of {rows} rows: there is too little to learn from")
    if len(texts) < LEAST_ROWS:
        raise DataError(f"expected at least {LEAST_ROWS} rows with a {name!r}, found {len(texts)}")
    if len(values) == 1:
        raise DataError(f"{name!r} is {_shown(values[0])} in all rows: there is nothing to learn")
    numbers = as_numbers(values)
    number_format = written.number_format if written else None
    if number_format or not (numbers.has_nulls() or _are_codes(numbers, most=min(most_classes, len(texts) // 5))):
        why = f"{_range(numbers)}, {len(values)} different{_as_written(number_format)}{missing}"
        label = {"type": "number", "name": name, **(_unit_of(number_format) | (written.settings if written else {}))}
        return label, Finding(name, "target: number", why), None
    if len(values) > min(_MOST_CLASSES, len(texts) // 2):
        raise DataError(
            f"{name!r} is neither a number nor a class: {len(values)} different texts in {len(texts)} rows, such as "
            f"{_shown(values.filter(numbers.is_null())[0])}"
        )
    classes = _sorted(values)
    why = f"{len(classes)} different: {_listed(classes)}{missing}"
    most_frequent = int(counts["count"][0]) / len(texts)
    label = {"type": "category", "name": name, "classes": classes}
    return label, Finding(name, "target: category", why), most_frequent


def _unit_of(number_format: NumberFormat | None) -> Section:
    return {"unit": number_format.unit} if number_format and number_format.unit else {}


def _as_written(number_format: NumberFormat | None) -> str:
    """What is peculiar about how numbers are written."""
    if number_format is None:
        return ""
    marks = {".": "points", ",": "commas", " ": "blanks", "'": "apostrophes"}
    peculiar = [
        "decimal comma" if number_format.decimal == "," else "",
        f"thousands set off by {marks[number_format.thousands]}" if number_format.thousands else "",
        f"in {number_format.unit}" if number_format.unit else "",
        "negatives in parentheses" if number_format.negative == "parentheses" else "",
        "negatives with the minus behind" if number_format.negative == "trailing" else "",
    ]
    return f"; {', '.join(filter(None, peculiar))}"


def _no_feature(column: pl.Series, target: pl.Series, label: Section, written: Written | None) -> str | None:
    """Why a column is left out; None where it is a feature."""
    name, present = column.name, column.drop_nulls()
    count = present.n_unique()
    if "/" in name or name in _RESERVED:
        return (
            "Keras refuses names with a '/': rename it"
            if "/" in name
            else "Headrace has a column of that name: rename it"
        )
    if not count:
        return "there is nothing in it"
    if count == 1 and not column.has_nulls():
        return f"the same in all rows: {_shown(present[0])}"
    if label["type"] == "category" and count == len(label["classes"]) and _are_one_to_one(column, target):
        return f"it determines {target.name!r}: each of its values goes with one class"
    return None if written else _no_quantity(present, count)


def _no_quantity(present: pl.Series, count: int) -> str | None:
    """Why a column of texts, or of ids, is left out."""
    if count == len(present) and _is_numbering(present):
        return "a different whole number in each row: an id"
    numbers = as_numbers(present)
    if not numbers.has_nulls() or count <= min(_MOST_CATEGORIES, len(present) // 2):
        return None
    has_digits = present.str.contains("[0-9]") & ~present.str.contains(r"\p{L}{4}")
    strange = present.filter(~has_digits if number_formats(present.filter(has_digits).unique()) else numbers.is_null())
    if 10 * len(strange) < len(present):
        return f"numbers but for {len(strange)} texts such as {_shown(strange[0])}: fix these, or add it"
    return f"{TEXT}{count} different in {len(present)} rows, such as {_shown(present[0])}"


def _feature(column: pl.Series, written: Written | None, *, is_whole: bool) -> tuple[Section, Finding]:
    present = column.drop_nulls()
    missing = len(column) - len(present)
    lacks = f"; {missing} missing ({missing / len(column):.0%})" if missing else ""
    nullable = {"nullable": True} if missing or not is_whole else {}
    counts = present.value_counts(sort=True)
    values, least = counts[column.name], counts["count"][-1]
    if written and written.date_format:
        why = f"dates or times written as {written.date_format}, such as {_shown(values[0])}{lacks}"
        return {"type": "number", **nullable, **written.settings}, Finding(column.name, "date", why)
    numbers = as_numbers(values)
    is_code = len(values) > 2 and least > 1 and _are_codes(numbers, most=_MOST_CODES)
    if written or not (numbers.has_nulls() or is_code):
        number_format = written.number_format if written else None
        why = f"{_range(numbers)}, {len(values)} different{_as_written(number_format)}{lacks}"
        settings = written.settings if written else {}
        return {"type": "number", **nullable, **settings}, Finding(column.name, "number", why)
    classes = _sorted(values)
    why = f"{len(classes)} different: {_listed(classes)}{lacks}"
    if is_whole and len(classes) <= _MOST_CLOSED and least > 1:
        return {"type": "category", **nullable, "classes": classes}, Finding(column.name, "category of these", why)
    return {"type": "category", **nullable}, Finding(column.name, "category, open", why)


def _is_numbering(present: pl.Series) -> bool:
    """Whether values, all different, are whole numbers that count the rows from 0 or 1, or are called an id."""
    numbers = as_numbers(present)
    if numbers.has_nulls() or not _are_whole(numbers):
        return False
    first, last = np.sort(numbers.to_numpy())[[0, -1]]
    return bool(_ID_NAME.search(present.name)) or (first in (0, 1) and last - first == len(present) - 1)


def _is_key(column: pl.Series) -> bool:
    return bool(_ID_NAME.search(column.name)) and not column.has_nulls() and column.n_unique() == len(column)


def _are_codes(numbers: pl.Series, *, most: int) -> bool:
    """Whether different texts are as many different whole numbers, and few."""
    return len(numbers) <= most and not numbers.has_nulls() and _are_whole(numbers) and numbers.is_unique().all()


def _are_whole(numbers: pl.Series) -> bool:
    return bool((numbers == numbers.round()).all())


def _are_one_to_one(one: pl.Series, other: pl.Series) -> bool:
    """Whether two columns, of as many different values, divide the rows alike."""
    return not one.has_nulls() and pl.DataFrame([one.alias("one"), other.alias("other")]).n_unique() == one.n_unique()


def _sorted(values: pl.Series) -> list[str]:
    """Texts in order, of their numbers if that is what they are."""
    table = pl.DataFrame({"text": values, "number": as_numbers(values)})
    return table.sort(*(["text"] if table["number"].has_nulls() else ["number", "text"]))["text"].to_list()


def _range(numbers: pl.Series) -> str:
    kind = "whole numbers" if _are_whole(numbers) else "numbers"
    values = numbers.to_numpy()
    return f"{kind} from {values.min():.6g} to {values.max():.6g}"


def _listed(values: list[str], *, most: int = 6) -> str:
    return ", ".join([_shown(value) for value in values[:most]] + ([] if len(values) <= most else ["..."]))


def _shown(value: str) -> str:
    return repr(value if len(value) <= 40 else f"{value[:37]}...")
