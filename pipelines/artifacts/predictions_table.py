"""Predictions with the rows that they are of, and a header that says which version made them: for monitoring."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import polars as pl

from headrace.components.errors import DataError
from headrace.components.files.atomic import replace_file
from headrace.components.files.tables import read_file, read_metadata, write_file
from headrace.pipelines.artifacts.artifact import Artifact

INPUT = "input."  # in front of the names of columns as the model took them
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
    file: Path, predictions: pl.DataFrame, examples: pl.DataFrame, *, pipeline: str, version: int, sha256: str, of: Path
) -> None:
    """Write predictions and beside them their rows as `input.<name>`, as one Parquet file, whole."""
    header = PredictionsHeader(
        pipeline=pipeline, version=version, model_sha256=sha256, predicted_at=datetime.now(UTC), input=of.name
    )
    rows = predictions.hstack(examples.select(pl.all().name.prefix(INPUT)))
    with replace_file(file) as temporary:
        write_file(rows, temporary, metadata={_HEADER: header.model_dump_json()})


def read_predictions_header(file: Path) -> PredictionsHeader | None:
    """The header of a Parquet file; None for a file of other predictions. Raises DataError for a damaged one."""
    try:
        text = read_metadata(file).get(_HEADER)
        return None if text is None else PredictionsHeader.model_validate_json(text)
    except (OSError, ValueError) as error:  # Arrow's own errors are ValueErrors
        raise DataError(f"{file} is damaged, or of another version of Headrace; predict these rows again") from error


def read_predictions_table(file: Path) -> pl.DataFrame:
    """All columns; raises DataError for a damaged file."""
    try:
        return read_file(file)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{file} is damaged: {error}; predict these rows again") from error
