"""A table in a file, read by its name's suffix: by the very readers that ingest has for the format."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headrace.components.errors import ParamsError
from headrace.components.examples.settings import RowSchema
from headrace.components.sources.delimited import DelimitedBlock, column_names, delimited_blocks, read_layout
from headrace.components.sources.json_lines import JsonBlock, json_blocks, read_json_block
from headrace.components.sources.parquet import parquet_blocks, parquet_columns
from headrace.components.sources.part import RawPart, RowError
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

    def present(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return those of the names that are columns; of JSON lines, those with a value in any row."""
        match self.format:
            case "delimited":
                found = set(column_names(self.path, separator=self.separator))
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
                layout = read_layout(self.path, columns=columns, separator=self.separator, null_values=self.null_values)
                return delimited_blocks(self.path, layout)
            case "parquet":
                return parquet_blocks(self.path, schema=schema)
            case "json_lines":
                return json_blocks(self.path, columns=columns)


def table_file(path: Path, *, source: object) -> TableFile:
    """Return how a file is read, delimited text as `source` has it; raise ParamsError for a suffix of no table."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    if (found := _FORMATS.get(suffix)) is None:
        raise ParamsError(
            f"can't read {path}: expected .csv, .tsv, .jsonl (also .gz, .bz2, .xz, .zst), .parquet, an image or a "
            "folder of images"
        )
    null_values: tuple[str, ...] = ("",)
    separator = "\t" if suffix == ".tsv" else ","
    if isinstance(source, DelimitedSource):
        separator = separator if suffix == ".tsv" else source.separator
        null_values = source.null_values
    return TableFile(path, found, separator, null_values)


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
