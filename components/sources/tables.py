"""A table in a file, read by its name's suffix: by the very readers that ingest has for the format."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headrace.components.errors import DataError, ParamsError
from headrace.components.examples.settings import RowSchema
from headrace.components.sources.delimited import DelimitedBlock, column_names, delimited_blocks, read_layout
from headrace.components.sources.json_lines import JsonBlock, json_blocks, read_json_block
from headrace.components.sources.parquet import parquet_blocks, parquet_columns
from headrace.components.sources.raw_part import RawPart, RowError
from headrace.components.sources.settings import DelimitedSource

Format = Literal["delimited", "json_lines", "parquet"]
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")  # what a file holds says how it is compressed, not its name
_FORMATS: dict[str, Format] = {
    ".csv": "delimited",
    ".tsv": "delimited",
    ".txt": "delimited",
    ".jsonl": "json_lines",
    ".ndjson": "json_lines",
    ".parquet": "parquet",
}


@dataclass(frozen=True)
class TableFile:
    """A file of rows, and how it is written."""

    path: Path
    format: Format
    separator: str = ","
    null_values: tuple[str, ...] = ("",)
    replaced_by: tuple[str, ...] | None = None  # names in place of the header's

    def present(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return those of the names that are columns; of JSON lines, those with a value in any row."""
        match self.format:
            case "delimited":
                found = set(column_names(self.path, separator=self.separator, replaced_by=self.replaced_by))
            case "parquet":
                found = set(parquet_columns(self.path))
            case "json_lines":
                found = _keys_with_values(self.path, names)
        return tuple(name for name in names if name in found)

    def blocks(self, schema: RowSchema) -> Iterator[DelimitedBlock | JsonBlock | RawPart]:
        """Yield the rows in blocks; raise DataError for a damaged file, a missing column, and where there are none."""
        columns = schema.source_columns
        match self.format:
            case "delimited":
                layout = read_layout(
                    self.path,
                    columns=columns,
                    separator=self.separator,
                    null_values=self.null_values,
                    replaced_by=self.replaced_by,
                )
                return delimited_blocks(self.path, layout)
            case "parquet":
                return parquet_blocks(self.path, schema=schema)
            case "json_lines":
                return json_blocks(self.path, columns=columns)


def table_file(path: Path, *, source: object, columns: Sequence[str]) -> TableFile:
    """Return how a file is read for `columns`, delimited text as `source` has it.

    Raises ParamsError for a suffix of no table, and DataError for a header that may be meant in two ways.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    if (found := _FORMATS.get(suffix)) is None:
        raise ParamsError(
            f"can't read {path}: expected .csv, .tsv, .jsonl (also .gz, .bz2, .xz, .zst), .parquet, an image or a "
            "folder of images"
        )
    separator = "\t" if suffix == ".tsv" else ","
    if not (found == "delimited" and isinstance(source, DelimitedSource)):
        return TableFile(path, found, separator)
    separator = separator if suffix == ".tsv" else source.separator
    replaced_by = _replaced_by(path, source, columns=columns, separator=separator)
    return TableFile(path, found, separator, source.null_values, replaced_by)


def _replaced_by(
    path: Path, source: DelimitedSource, *, columns: Sequence[str], separator: str
) -> tuple[str, ...] | None:
    """The names that ingest puts in place of a header like this file's; None where the header's own are taken.

    Raises DataError where header and params.yaml have a wanted column in different places: one of them is wrong.
    """
    renamed = dict.fromkeys(file.columns for part in source.parts for file in part.files if file.columns)
    if not renamed:
        return None
    header = column_names(path, separator=separator)
    fitting = [names for names in renamed if len(names) == len(header) and set(columns) <= set(names)]
    for name in columns:
        readings = [*fitting, *([header] if set(columns) <= set(header) else [])]
        if len({names.index(name) for names in readings}) > 1:
            raise DataError(
                f"{path.name}: {name!r} may be one column by the header and another by `columns` in params.yaml, "
                f"which has {' or '.join(', '.join(names) for names in fitting)}; order the file's columns like that"
            )
    return fitting[0] if fitting else None


def _keys_with_values(path: Path, names: Sequence[str]) -> set[str]:
    found: set[str] = set()
    if names:
        with suppress(RowError):  # reported, with its place, where the rows themselves are read
            for block in json_blocks(path, columns=names):
                table = read_json_block(block).table
                found |= {name for name in names if table[name].null_count() < table.height}
                if len(found) == len(names):
                    break
    return found
