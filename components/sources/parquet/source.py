"""Parquet files: settings, and how they are read for examples and predictions."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from headrace.components.schema.example_schema import ExampleSchema, RowSchema
from headrace.components.sources.raw_part import GivenSplit
from headrace.components.sources.schema_checks import require_table_or_images
from headrace.components.sources.source import BLOCK_BYTES, Block, Source
from headrace.components.sources.table_file import TableFile, suffix_of
from headrace.components.sources.table_source import RowFileSource

if TYPE_CHECKING:
    import polars as pl


class ParquetSource(RowFileSource):
    """Parquet files; columns go by name, others are left out. One of them may hold image files."""

    kind: Literal["parquet"] = "parquet"
    table_suffixes = (".parquet",)

    def check_schema(self, schema: ExampleSchema) -> None:
        """Raise ParamsError for more than one image, or one beside other features."""
        require_table_or_images(schema, kind=self.kind)

    def blocks(self, file: Path, *, schema: ExampleSchema, given_split: GivenSplit | None) -> Iterable[Block]:
        """Batches of rows."""
        from headrace.components.sources.parquet.reader import parquet_blocks

        return parquet_blocks(file, schema=schema, given_split=given_split)

    @classmethod
    def open_table(cls, path: Path, *, source: Source, columns: Sequence[str]) -> TableFile | None:
        """A file that ends in .parquet."""
        return ParquetTable(path) if suffix_of(path) in cls.table_suffixes else None


class ParquetTable(TableFile):
    """A Parquet file to predict."""

    def present(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of the names that are columns."""
        from headrace.components.sources.parquet.reader import parquet_columns

        found = parquet_columns(self.path)
        return tuple(name for name in names if name in found)

    def blocks(self, schema: RowSchema) -> Iterable[Block]:
        """Batches of rows."""
        from headrace.components.sources.parquet.reader import parquet_blocks

        return parquet_blocks(self.path, schema=schema, block_bytes=BLOCK_BYTES)

    def nested_blocks(self, columns: Sequence[str]) -> "Iterable[pl.DataFrame]":
        """Batches of these columns, in their own types."""
        from headrace.components.sources.parquet.reader import nested_blocks

        return nested_blocks(self.path, columns, block_bytes=BLOCK_BYTES)
