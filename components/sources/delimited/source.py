"""Delimited text (CSV, TSV): settings, the files that are needed, and those to predict."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from headrace.components.errors import DataError
from headrace.components.schema.example_schema import ExampleSchema, RowSchema
from headrace.components.schema.settings import Settings
from headrace.components.sources.file import SourceFile
from headrace.components.sources.raw_files import FoundFiles
from headrace.components.sources.raw_part import GivenSplit
from headrace.components.sources.source import Block, Source, SourcePart
from headrace.components.sources.table_file import TableFile, suffix_of
from headrace.components.sources.table_source import TableSource


class DelimitedFile(SourceFile):
    """A delimited text file with one header line."""

    columns: tuple[str, ...] | None = None
    """Column names that replace those of the header line, as many as it has. The header line is skipped."""


class DelimitedPart(Settings):
    """Files that stand side by side (row i of each belongs together), and the split that the source gives them."""

    files: Annotated[tuple[DelimitedFile, ...], Field(min_length=1)]
    """Files side by side: row i of each belongs to the same example."""

    given_split: GivenSplit | None = None
    """The split that the source assigns to these rows, for all parts or none. `train` is divided into train and
    validation.
    """


class DelimitedSource(TableSource):
    """Delimited text (CSV, TSV), UTF-8, with one header line in every file."""

    kind: Literal["delimited"] = "delimited"
    table_suffixes = (".csv", ".tsv", ".txt")
    parts: tuple[DelimitedPart, ...] = ()
    separator: Annotated[str, Field(min_length=1, max_length=1)] = ","
    """The character between two values."""

    null_values: tuple[str, ...] = ("",)
    """Texts that mean "missing"."""

    @property
    def pinned(self) -> Sequence[tuple[SourceFile, ...]]:
        """The files of each part, which stand side by side."""
        return [part.files for part in self.parts]

    def open_parts(self, found: Sequence[FoundFiles], schema: ExampleSchema) -> list[SourcePart]:
        """A part for each file, or for files that stand side by side."""
        how = f"delimited {self.separator!r} {self.null_values}"
        if not self.parts:
            files = [file for one in found for file in one.paths]
            read = partial(_blocks, schema=schema, separator=self.separator, null_values=self.null_values)
            return [SourcePart((file,), how, partial(read, file)) for file in files]
        parts = []
        for part, sides in zip(self.parts, found, strict=True):
            columns = [file.columns for file in part.files]
            read = partial(self._read_part, part, sides.paths, schema)
            parts.append(SourcePart(sides.paths, f"{how} {columns} {part.given_split}", read))
        return parts

    @classmethod
    def open_table(cls, path: Path, *, source: Source, columns: Sequence[str]) -> TableFile | None:
        """A file that ends in .csv, .tsv or .txt, with the separator, missing values and names of `source`."""
        suffix = suffix_of(path)
        if suffix not in cls.table_suffixes:
            return None
        separator = "\t" if suffix == ".tsv" else ","
        if not isinstance(source, cls):
            return DelimitedTable(path, separator=separator)
        separator = separator if suffix == ".tsv" else source.separator
        replaced_by = source._replaced_by(path, columns=columns, separator=separator)
        return DelimitedTable(path, replaced_by, separator, source.null_values)

    def _read_part(self, part: DelimitedPart, files: Sequence[Path], schema: ExampleSchema) -> Iterable[Block]:
        if len(files) == 1:
            return _blocks(
                files[0],
                schema=schema,
                separator=self.separator,
                null_values=self.null_values,
                replaced_by=part.files[0].columns,
                given_split=part.given_split,
            )
        from headrace.components.sources.delimited.reader import read_delimited_part

        columns = schema.source_columns
        return [
            read_delimited_part(part, files, columns=columns, separator=self.separator, null_values=self.null_values)
        ]

    def _replaced_by(self, path: Path, *, columns: Sequence[str], separator: str) -> tuple[str, ...] | None:
        """The names that ingest puts in place of a header like this file's; None where the header's own are taken.

        Raises DataError where header and params.yaml have a wanted column in different places: one of them is wrong.
        """
        from headrace.components.sources.delimited.reader import column_names

        renamed = dict.fromkeys(file.columns for part in self.parts for file in part.files if file.columns)
        if not renamed:
            return None
        header = column_names(path, separator=separator)
        fitting = [names for names in renamed if len(names) == len(header) and set(columns) <= set(names)]
        for name in columns:
            readings = [*fitting, *([header] if set(columns) <= set(header) else [])]
            if len({names.index(name) for names in readings}) > 1:
                orders = " or ".join(", ".join(names) for names in fitting)
                raise DataError(
                    f"{path.name}: {name!r} may be one column by the header and another by `columns` in params.yaml, "
                    f"which has {orders}; order the file's columns like that"
                )
        return fitting[0] if fitting else None


@dataclass(frozen=True)
class DelimitedTable(TableFile):
    """Delimited text to predict."""

    separator: str = ","
    null_values: tuple[str, ...] = ("",)

    def present(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of the names that are in the header, or in what replaces it."""
        from headrace.components.sources.delimited.reader import column_names

        found = column_names(self.path, separator=self.separator, replaced_by=self.replaced_by)
        return tuple(name for name in names if name in found)

    def blocks(self, schema: RowSchema) -> Iterable[Block]:
        """Rows of the file."""
        return _blocks(
            self.path,
            schema=schema,
            separator=self.separator,
            null_values=self.null_values,
            replaced_by=self.replaced_by,
        )


def _blocks(
    file: Path,
    *,
    schema: RowSchema,
    separator: str,
    null_values: Sequence[str],
    replaced_by: Sequence[str] | None = None,
    given_split: GivenSplit | None = None,
) -> Iterable[Block]:
    from headrace.components.sources.delimited.reader import delimited_blocks, read_layout

    layout = read_layout(
        file,
        columns=schema.source_columns,
        separator=separator,
        null_values=null_values,
        replaced_by=replaced_by,
        given_split=given_split,
    )
    return delimited_blocks(file, layout)
