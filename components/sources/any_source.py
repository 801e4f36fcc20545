"""All sources. One more is one more line here."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from headrace.components.errors import ParamsError
from headrace.components.sources.arrow_files import ArrowSource
from headrace.components.sources.bundled import BundledSource
from headrace.components.sources.delimited.source import DelimitedSource
from headrace.components.sources.delta import DeltaSource
from headrace.components.sources.generated import GeneratedSource
from headrace.components.sources.iceberg import IcebergSource
from headrace.components.sources.idx import IdxSource
from headrace.components.sources.images import ImageSource
from headrace.components.sources.inline import InlineSource
from headrace.components.sources.json_lines import JsonLinesSource
from headrace.components.sources.own_rows.source import PythonSource
from headrace.components.sources.parquet.source import ParquetSource
from headrace.components.sources.source import Source
from headrace.components.sources.sql.source import SqlSource
from headrace.components.sources.table_file import TableFile, suffix_of
from headrace.components.sources.text import TextSource
from headrace.components.sources.tfrecord import TfRecordSource

SOURCES: tuple[type[Source], ...] = (
    BundledSource,
    InlineSource,
    GeneratedSource,
    IdxSource,
    DelimitedSource,
    ParquetSource,
    ArrowSource,
    TfRecordSource,
    PythonSource,
    SqlSource,
    DeltaSource,
    IcebergSource,
    JsonLinesSource,
    TextSource,
    ImageSource,
)

if TYPE_CHECKING:
    AnySource = Source
else:
    AnySource = Annotated[Union[SOURCES], Field(discriminator="kind")]  # noqa: UP007 - of a tuple


def open_table(path: Path, *, source: Source, columns: Sequence[str]) -> TableFile:
    """A file of rows to predict, whose suffix says which source's reader it has; its settings are those of `source`.

    Raises ParamsError for a suffix of no table, and DataError for a header that may be meant in two ways.
    """
    for kind in (type(source), *SOURCES):
        if table := kind.open_table(path, source=source, columns=columns):
            return table
    raise ParamsError(
        f"can't read {path}: expected .csv, .tsv, .jsonl (also .gz, .bz2, .xz, .zst), .parquet, .arrow, "
        ".tfrecord, an image or a folder of images"
    )


def is_table(name: str) -> bool:
    """Whether a file's name says that it is one of rows to predict."""
    return any(suffix_of(Path(name)) in kind.table_suffixes for kind in SOURCES)
