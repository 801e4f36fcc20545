"""What every source gives: rows as they were read, before anything is checked or typed."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from headrace.components.errors import DataError
from headrace.components.printable import printable

if TYPE_CHECKING:
    import polars as pl

GivenSplit = Literal["train", "test"]
_NAMES_SHOWN = 40
_NAME_SHOWN = 200  # characters


@dataclass(frozen=True)
class RawPart:
    """Raw columns, the name of the file that each came from, and the split that the source gives all the rows.

    Where each row is a file of its own, `rows` has its name, `file`, and its place in the source, `row`, from 1.
    """

    table: "pl.DataFrame"
    files: Mapping[str, str]
    given_split: GivenSplit | None = None
    rows: "pl.DataFrame | None" = None

    def read(self, *, numbers: Collection[str] = ()) -> "RawPart":
        """The part itself: a block that has been read."""
        return self


class RowError(DataError):
    """A row that can't be read, by its place (from 1) among the rows that were read together with it."""

    def __init__(self, file: str, row: int, problem: str) -> None:
        super().__init__(file, row, problem)
        self.file, self.row, self.problem = file, row, problem

    def __str__(self) -> str:
        return f"{self.file}, row {self.row}: {self.problem}"

    def after(self, rows: int) -> "RowError":
        """The same error where so many rows of the file come before."""
        return RowError(self.file, self.row + rows, self.problem)


def require_columns(columns: Sequence[str], headers: Sequence[Sequence[str]], *, files: str) -> None:
    """Raise DataError unless every wanted column is in the headers exactly once."""
    found = [name for names in headers for name in names]
    for column in columns:
        if found.count(column) > 1:
            raise DataError(f"{files}: column {column!r} occurs {found.count(column)} times; found {_listed(found)}")
        if column not in found:
            raise DataError(f"{files}: no column {column!r}; found {_listed(found)}{_nearest(column, found)}")


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(map(_shortened, names[:_NAMES_SHOWN])) + more


def _shortened(name: str) -> str:
    return printable(name[:_NAME_SHOWN]) + ("..." if len(name) > _NAME_SHOWN else "")


def _nearest(column: str, found: Sequence[str]) -> str:
    by_fold = {name.casefold().strip(): name for name in found}
    nearest = difflib.get_close_matches(column.casefold(), by_fold, n=1, cutoff=0.5)
    return f"; did you mean {by_fold[nearest[0]]!r}?" if nearest else ""
