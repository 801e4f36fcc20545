"""How files of rows are read: Parquet, JSON lines, and text that is cut into rows."""

from collections.abc import Callable, Iterator
from functools import partial

import structlog

from headrace.components.examples.example_blocks import Block
from headrace.components.examples.settings import ExampleSchema
from headrace.components.sources.json_lines import json_blocks
from headrace.components.sources.parquet import parquet_blocks
from headrace.components.sources.settings import JsonLinesSource, ParquetSource, TextSource
from headrace.components.sources.text import check_columns, text_blocks

RowSource = ParquetSource | JsonLinesSource | TextSource

log = structlog.get_logger()


def reading_of(source: RowSource, schema: ExampleSchema) -> tuple[str, Callable[..., Iterator[Block]]]:
    """Return how the source's files are read: in words, and as a function of a path and of `given_split`.

    Raises ParamsError for columns that a text can't have.
    """
    match source:
        case ParquetSource():
            return source.kind, partial(parquet_blocks, schema=schema)
        case JsonLinesSource():
            return source.kind, partial(json_blocks, columns=schema.source_columns)
        case TextSource(length=length, passage_chunks=passage_chunks):
            check_columns(schema)
            return f"text {length} {passage_chunks}", partial(text_blocks, source=source, on_rest=_log_rest)


def _log_rest(file: str, characters: int) -> None:
    log.info("the end of a file is shorter than a chunk, and is not used", file=file, characters=characters)
