"""What every source gives: rows as they were read, before anything is checked or typed."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from headrace.components.errors import DataError, ParamsError
from headrace.components.examples.settings import CategoryFeature, ExampleSchema, Feature, GeneratedLabel, ImageFeature
from headrace.components.sources.settings import GivenSplit

_NAMES_SHOWN = 40
_NAME_SHOWN = 200  # characters


@dataclass(frozen=True)
class RawPart:
    """Raw columns, the name of the file that each came from, and the split that the source gives all the rows.

    Where each row is a file of its own, `rows` has its name, `file`, and its place in the source, `row`, from 1.
    """

    table: pl.DataFrame
    files: Mapping[str, str]
    given_split: GivenSplit | None = None
    rows: pl.DataFrame | None = None


class RowError(DataError):
    """A row that can't be read, by its place (from 1) among the rows that were read together with it."""

    def __init__(self, file: str, row: int, problem: str) -> None:
        super().__init__(file, row, problem)
        self.file, self.row, self.problem = file, row, problem

    def __str__(self) -> str:
        return f"{self.file}, row {self.row}: {self.problem}"

    def after(self, rows: int) -> "RowError":
        """Return the error as it is where so many rows of the file come before."""
        return RowError(self.file, self.row + rows, self.problem)


def require_columns(columns: Sequence[str], headers: Sequence[Sequence[str]], *, files: str) -> None:
    """Raise DataError unless every wanted column is in the headers exactly once."""
    found = [name for names in headers for name in names]
    for column in columns:
        if found.count(column) > 1:
            raise DataError(f"{files}: column {column!r} occurs {found.count(column)} times; found {_listed(found)}")
        if column not in found:
            raise DataError(f"{files}: no column {column!r}; found {_listed(found)}{_nearest(column, found)}")


def printable(text: str) -> str:
    """Return text from a file as it can be shown: no line ends, no control characters, nothing that is not seen."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


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


def only_image(features: Mapping[str, Feature], *, kind: str) -> tuple[str, ImageFeature]:
    """Return name and settings of the one image that a picture source fills; raise ParamsError for other features."""
    match list(features.items()):
        case [(name, ImageFeature() as feature)]:
            if kind != "images" and (feature.encoding, feature.resize) != ("tensor", "none"):
                raise ParamsError(f"ingest.features.{name}: encoding and resize are for a source of kind 'images'")
            return name, feature
    found = ", ".join(f"{name} ({feature.type})" for name, feature in features.items())
    raise ParamsError(f"ingest.features: a source of kind {kind!r} gives exactly one image, found {found}")


def image_and_class(schema: ExampleSchema, *, kind: str) -> tuple[str, ImageFeature, str]:
    """Return name and settings of the one image that a picture source fills, and the name of its images' classes.

    That is the label or, where images are generated, the one category among the features. Raises ParamsError for other
    features.
    """
    if not isinstance(schema.label, GeneratedLabel):
        return (*only_image(schema.features, kind=kind), schema.label.name)
    categories = [name for name, feature in schema.features.items() if isinstance(feature, CategoryFeature)]
    if len(categories) != 1:
        raise ParamsError(
            f"ingest.features: a source of kind {kind!r} gives an image and its class; for images that are generated, "
            f"expected one category beside the image, found {', '.join(categories) or 'none'}"
        )
    others = {name: feature for name, feature in schema.features.items() if name not in categories}
    return (*only_image(others, kind=kind), categories[0])
