"""Predictions with the rows that they are of, and a header that says which version made them: for monitoring."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import polars as pl

from headrace.components.errors import DataError
from headrace.components.files.atomic import replace_file
from headrace.components.files.tables import read_file, read_metadata, scan_files, write_parts
from headrace.components.serving_model.prediction_files import InputRows
from headrace.pipelines.artifacts.artifact import Artifact

INPUT = "input."  # in front of the names of columns as the model took them
_ROWS_AT_ONCE = 1 << 16
_HEADER = "headrace_predictions"  # key of the header in the file's own metadata


class PredictionsHeader(Artifact):
    """Which registered version predicted, when, and which rows."""

    format_version: Literal[1] = 1
    pipeline: str
    version: int
    model_sha256: str
    predicted_at: datetime
    input: str


def write_predictions_table(
    file: Path, parts: Iterable[InputRows], *, pipeline: str, version: int, sha256: str, of: str
) -> int:
    """Write predictions, `origin`, and beside them their rows as `input.<name>`, as one Parquet file, whole.

    `of` names the input. Returns the number of rows.
    """
    header = PredictionsHeader(
        pipeline=pipeline, version=version, model_sha256=sha256, predicted_at=datetime.now(UTC), input=of
    )
    tables = (part.origin.hstack(part.examples.select(pl.all().name.prefix(INPUT))) for part in parts)
    with replace_file(file) as temporary:
        return write_parts(tables, temporary, metadata={_HEADER: header.model_dump_json()})


def read_predictions_header(file: Path) -> PredictionsHeader | None:
    """The header of a Parquet file; None for a file of other predictions. Raises DataError for a damaged one."""
    try:
        text = read_metadata(file).get(_HEADER)
        return None if text is None else PredictionsHeader.model_validate_json(text)
    except (OSError, ValueError) as error:  # Arrow's own errors are ValueErrors
        raise DataError(f"{file} is damaged, or of another version of Headrace; predict these rows again") from error


def read_predictions_table(file: Path, *, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """All columns, or some of them; raises DataError for a damaged file."""
    with _damage_reported(file):
        return read_file(file, columns=columns)


def predictions_columns(file: Path) -> list[str]:
    """Names of the columns; raises DataError for a damaged file."""
    with _damage_reported(file):
        return scan_files(file).collect_schema().names()


def read_predictions_batches(file: Path) -> Iterator[pl.DataFrame]:
    """All rows in order, some at a time; raises DataError for a damaged file."""
    with _damage_reported(file):
        yield from scan_files(file).collect_batches(chunk_size=_ROWS_AT_ONCE, maintain_order=True)


@contextmanager
def _damage_reported(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{file} is damaged: {error}; predict these rows again") from error
