"""Delimited text (CSV, TSV): every value read as text, so that a wrong one can be named when it is typed.

Arrow's reader and not Polars's, which fills a short row with nulls in silence.
"""

import csv
import difflib
import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.csv as arrow_csv

from components.errors import DataError
from components.sources.part import RawPart
from components.sources.quotes import require_closed_quotes
from components.sources.settings import DelimitedPart

_BLOCK_BYTES = 1 << 24  # also the longest row that can be read


def read_delimited_part(
    part: DelimitedPart, paths: Sequence[Path], *, columns: Sequence[str], separator: str, null_values: Sequence[str]
) -> RawPart:
    """Return `columns` as String (null where a value is in `null_values`), from files that stand side by side.

    Raises DataError that names the file for a missing or repeated column, a row of another length than the header's,
    a quote that is not closed, text that is not UTF-8, files of unequal row counts, or no rows.
    """
    headers = [
        _names(path, separator=separator, replaced_by=file.columns)
        for file, path in zip(part.files, paths, strict=True)
    ]
    _require(columns, headers, paths)
    tables = []
    files: dict[str, str] = {}
    for path, names in zip(paths, headers, strict=True):
        wanted = [name for name in names if name in columns]
        files |= dict.fromkeys(wanted, path.name)
        tables.append(_read(path, names, wanted, separator=separator, null_values=null_values))
    _require_equal_heights(tables, paths)
    return RawPart(pl.concat(tables, how="horizontal").select(columns), files, part.given_split)


def read_delimited_file(
    path: Path, *, columns: Sequence[str], optional: Sequence[str], separator: str, null_values: Sequence[str]
) -> pl.DataFrame:
    """Return `columns`, and those of `optional` that the file has, as String; null and errors as for a part."""
    names = _names(path, separator=separator, replaced_by=None)
    wanted = list(dict.fromkeys([*columns, *(name for name in optional if name in names)]))
    _require(wanted, [names], [path])
    return _read(path, names, wanted, separator=separator, null_values=null_values)


def _names(path: Path, *, separator: str, replaced_by: Sequence[str] | None) -> list[str]:
    """Return the column names: the header line's, or what `columns` in params.yaml puts in their place."""
    require_closed_quotes(path, separator=separator, longest_value=_BLOCK_BYTES)  # before the header can swallow rows
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            header = next(csv.reader(stream, delimiter=separator), None)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path.name}: its header line is not delimited UTF-8 text: {error}") from error
    if not header:
        raise DataError(f"{path.name}: expected a header line with column names, found none")
    if replaced_by is None:
        return header
    if len(header) != len(replaced_by):
        raise DataError(
            f"{path.name} has {len(header)} columns ({', '.join(header)}), "
            f"but `columns` names {len(replaced_by)} ({', '.join(replaced_by)})"
        )
    return list(replaced_by)


def _require(columns: Sequence[str], headers: Sequence[Sequence[str]], paths: Sequence[Path]) -> None:
    """Raise DataError unless every wanted column is there exactly once."""
    found = [name for names in headers for name in names]
    files = " and ".join(path.name for path in paths)
    for column in columns:
        if found.count(column) > 1:
            raise DataError(f"{files}: column {column!r} occurs {found.count(column)} times; found {', '.join(found)}")
        if column not in found:
            raise DataError(f"{files}: no column {column!r}; found {', '.join(found)}{_nearest(column, found)}")


def _nearest(column: str, found: Sequence[str]) -> str:
    by_fold = {name.casefold().strip(): name for name in found}
    nearest = difflib.get_close_matches(column.casefold(), by_fold, n=1, cutoff=0.5)
    return f"; did you mean {by_fold[nearest[0]]!r}?" if nearest else ""


def _read(
    path: Path, names: Sequence[str], wanted: Sequence[str], *, separator: str, null_values: Sequence[str]
) -> pl.DataFrame:
    """Return the wanted columns as String."""
    # In one thread, because only then does Arrow name the row in an error. Columns go by place ("0", "1", ...),
    # because a file may repeat a name that nobody asks for.
    places = {str(names.index(name)): name for name in wanted}
    try:
        table = arrow_csv.read_csv(
            path,
            arrow_csv.ReadOptions(
                use_threads=False,
                block_size=_BLOCK_BYTES,
                skip_rows_after_names=1,
                column_names=[str(i) for i in range(len(names))],
            ),
            arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(places, pa.large_string()),
                include_columns=list(places) or ["0"],
                null_values=list(null_values),
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid as error:
        raise DataError(_explain(path, str(error))) from error
    frame = pl.DataFrame(pl.from_arrow(table))
    if frame.is_empty():
        raise DataError(f"{path.name} has a header line but no rows")
    return frame.select(pl.col(place).alias(name) for place, name in places.items())


def _explain(path: Path, error: str) -> str:
    """Return Arrow's message in our words; its rows are counted from the header line, ours from the first after it."""
    if bad := re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+): (.*)", error, re.DOTALL):
        return f"{path.name}, row {int(bad[1]) - 1}: expected {bad[2]} values, found {bad[3]} in {bad[4]!r}"
    if bad := re.search(r"Row #(\d+): .*UTF8", error):
        return f"{path.name}, row {int(bad[1]) - 1}: expected UTF-8 text, found other bytes"
    if "straddling" not in error:
        return f"{path.name} is not delimited UTF-8 text: {error}"
    if path.stat().st_size <= _BLOCK_BYTES:  # what Arrow says of a lone header line without a line end
        return f"{path.name} has a header line but no rows"
    return f"{path.name}: a row is longer than {_BLOCK_BYTES} bytes"


def _require_equal_heights(tables: Sequence[pl.DataFrame], paths: Sequence[Path]) -> None:
    if len({table.height for table in tables}) > 1:
        counts = ", ".join(f"{path.name} {table.height}" for path, table in zip(paths, tables, strict=True))
        raise DataError(f"files that stand side by side must have equally many rows, found {counts}")
