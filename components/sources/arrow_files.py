"""Arrow IPC files (https://arrow.apache.org): streams, as Hugging Face keeps data sets, or files."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from headrace.components.errors import DataError
from headrace.components.schema.example_schema import ExampleSchema, RowSchema
from headrace.components.sources.arrow_bombs import require_no_bomb
from headrace.components.sources.raw_part import GivenSplit
from headrace.components.sources.schema_checks import require_table_or_images
from headrace.components.sources.source import Block, Source
from headrace.components.sources.table_file import TableFile, suffix_of
from headrace.components.sources.table_source import RowFileSource

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK_BYTES = 1 << 26
_BLOCK_ROWS = 1 << 19  # rows of nulls alone take no bytes in the file
_MAGIC = b"ARROW1"


class ArrowSource(RowFileSource):
    """Arrow IPC files; columns go by name, others are left out. One of them may hold image files."""

    kind: Literal["arrow"] = "arrow"
    table_suffixes = (".arrow",)

    def check_schema(self, schema: ExampleSchema) -> None:
        """Raise ParamsError for more than one image, or one beside other features."""
        require_table_or_images(schema, kind=self.kind)

    def blocks(self, file: Path, *, schema: ExampleSchema, given_split: GivenSplit | None) -> Iterable[Block]:
        """Record batches of a file."""
        return arrow_file_blocks(file, schema=schema, given_split=given_split)

    @classmethod
    def open_table(cls, path: Path, *, source: Source, columns: Sequence[str]) -> TableFile | None:
        """A file that ends in .arrow."""
        return ArrowTable(path) if suffix_of(path) in cls.table_suffixes else None


class ArrowTable(TableFile):
    """An Arrow file to predict."""

    def present(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of the names that are columns."""
        with _damage_reported(self.path), _opened(self.path) as (found, _):
            return tuple(name for name in names if name in found.names)

    def blocks(self, schema: RowSchema) -> Iterable[Block]:
        """Record batches of the file."""
        return arrow_file_blocks(self.path, schema=schema)


def arrow_file_blocks(path: Path, *, schema: RowSchema, given_split: GivenSplit | None = None) -> Iterator[Block]:
    """Yield the source columns of a file as `arrow_blocks` does, its batches in pieces of about 64 MiB.

    Raises DataError for a column that is missing or has another type than the schema can take, and for a file that is
    damaged or has no rows.
    """
    from headrace.components.sources.arrow_columns import arrow_blocks

    is_empty = True
    with _damage_reported(path), _opened(path) as (found, batches):
        for block in arrow_blocks(
            _pieces(batches, schema.source_columns),
            found,
            path=path,
            schema=schema,
            given_split=given_split,
            reported=_damage_reported,
        ):
            is_empty = False
            yield block
    if is_empty:
        raise DataError(f"{path.name} has no rows")


def _pieces(batches: "Iterable[pa.RecordBatch]", names: Sequence[str]) -> "Iterator[pa.RecordBatch]":
    """Batches of the wanted columns, checked: offsets that lead elsewhere would be followed."""
    for batch in batches:
        wanted = batch.select(list(dict.fromkeys(names)))
        wanted.validate(full=True)
        row_bytes = max(1, wanted.nbytes // max(1, wanted.num_rows) + sum(map(_shared_bytes, wanted.columns)))
        length = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // row_bytes))
        for start in range(0, wanted.num_rows, length):
            yield wanted.slice(start, length)


def _shared_bytes(column: "pa.Array") -> int:
    """Longest value of a column whose rows may name one value many times, in the file once; 0 for other columns."""
    from pyarrow import types

    from headrace.components.sources.arrow_columns import longest_of_dictionary, longest_value

    if types.is_struct(column.type):
        return sum(map(_shared_bytes, column.flatten()))
    if types.is_dictionary(column.type):
        return longest_of_dictionary(column)
    if types.is_string_view(column.type) or types.is_binary_view(column.type):
        return longest_value(column)
    return 0


@contextmanager
def _opened(path: Path) -> "Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]":
    """Schema and batches of a file, mapped into memory."""
    import pyarrow as pa

    with path.open("rb") as stream:
        is_file = stream.read(len(_MAGIC)) == _MAGIC
    with pa.memory_map(str(path)) as source:
        require_no_bomb(path, memoryview(source.read_buffer()), is_file=is_file)
        source.seek(0)
        if is_file:
            with pa.ipc.open_file(source) as file:
                yield file.schema, map(file.get_batch, range(file.num_record_batches))
        else:
            with pa.ipc.open_stream(source) as stream:
                yield stream.schema, iter(stream)


@contextmanager
def _damage_reported(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
        if getattr(error, "errno", None) is not None:  # a disk that can't be read, not a damaged file
            raise
        reason = " ".join(str(error).split())
        raise DataError(f"{path.name} is a damaged Arrow file, or none ({reason}): write or fetch it again") from error
