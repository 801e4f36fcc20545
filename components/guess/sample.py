"""The first rows of a delimited file, as text: enough to see what its columns are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from headrace.components.errors import DataError
from headrace.components.guess.findings import Finding
from headrace.components.sources.compressed import open_plain
from headrace.components.sources.delimited.reader import delimited_blocks, read_layout
from headrace.components.sources.delimited.row_blocks import read_header
from headrace.components.sources.raw_part import RowError

MOST_BYTES = 1 << 26
_SEPARATORS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class Sample:
    """Rows as String, the separator between their values, and whether they are all that the file has.

    `left_out` describes columns that can't be named.
    """

    table: pl.DataFrame
    separator: str
    is_whole: bool
    left_out: tuple[Finding, ...] = ()


def read_sample(path: Path, *, targets: Sequence[str], most_bytes: int = MOST_BYTES) -> Sample:
    """Return the first rows of a file, whole blocks until there are `most_bytes`.

    The separator is the one that makes the targets columns. Raises DataError for a file without it, and one that is no
    delimited text.
    """
    separator, names = _header(path, targets)
    wanted = [name for name in dict.fromkeys(names) if name and names.count(name) == 1]
    layout = read_layout(path, columns=wanted, separator=separator, null_values=("",))
    tables: list[pl.DataFrame] = []
    rows, bytes_read, is_whole = 0, 0, True
    for block in delimited_blocks(path, layout):
        if bytes_read >= most_bytes:
            is_whole = False
            break
        try:
            tables.append(block.read().table)
        except RowError as error:
            raise error.after(rows) from error
        rows, bytes_read = rows + tables[-1].height, bytes_read + len(block.rows.content)
    return Sample(pl.concat(tables), separator, is_whole, _unnamed(names))


def _header(path: Path, targets: Sequence[str]) -> tuple[str, list[str]]:
    """The separator, and the names that it makes of the header line: those with the targets, else the most."""
    found: dict[str, list[str]] = {}
    errors: list[DataError] = []
    for separator in _SEPARATORS:
        try:
            with open_plain(path) as stream:
                found[separator], _ = read_header(stream, file=path.name, separator=separator)
        except DataError as error:  # a quote within a value, where the separator is another
            errors.append(error)
    if not found:
        raise errors[0]
    separator, names = max(found.items(), key=lambda one: (set(targets) <= set(one[1]), len(one[1])))
    if wrong := [target for target in targets if names.count(target) != 1]:
        target = wrong[0]
        raise DataError(
            f"{path.name}: expected one column {target!r}, the target, found {names.count(target)} in "
            f"{', '.join(names[:40])}"
        )
    return separator, names


def _unnamed(names: list[str]) -> tuple[Finding, ...]:
    repeated = [name for name in dict.fromkeys(names) if name and names.count(name) > 1]
    findings = [
        Finding(name, "left out", f"{names.count(name)} columns are called so; rename all but one", is_used=False)
        for name in repeated
    ]
    nameless = [Finding("", "left out", "it has no name", is_used=False)] if "" in names else []
    return (*findings, *nameless)
