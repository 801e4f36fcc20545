"""outcomes.parquet: what the model made of each row that it was measured on, with a header that says which model."""

from typing import Literal

import polars as pl

from headrace.components.errors import DataError
from headrace.components.files.atomic import replace_file
from headrace.components.files.tables import read_file, read_metadata, write_file
from headrace.pipelines.artifacts.artifact import Artifact, file_digest
from headrace.pipelines.artifacts.metrics_record import MetricsFile
from headrace.pipelines.paths import PipelinePaths

_HEADER = "headrace"  # key of the header in the file's own metadata


class OutcomesHeader(Artifact):
    """What the outcomes were made from; the digests are those of metrics.json."""

    format_version: Literal[1] = 1
    pipeline: str
    weights_digest: str
    model_sha256: str
    data_digest: str
    ids_digest: str
    evaluation_version: int


def write_outcomes(paths: PipelinePaths, rows: pl.DataFrame, header: OutcomesHeader) -> str:
    """Write the table, whole, and return its SHA-256; equal outcomes give equal bytes."""
    with replace_file(paths.outcomes) as file:
        write_file(rows, file, metadata={_HEADER: header.model_dump_json()})
    return file_digest(paths.outcomes)


def read_header(paths: PipelinePaths) -> OutcomesHeader:
    """The header; raises DataError for a file without one, or of another version."""
    again = f"`headrace evaluate {paths.pipeline}` writes it again"
    try:
        text = read_metadata(paths.outcomes).get(_HEADER)
        return OutcomesHeader.model_validate_json(text or "{}")
    except (OSError, ValueError) as error:  # Arrow's own errors are ValueErrors
        raise DataError(f"{paths.outcomes} is damaged, or of another version of Headrace; {again}") from error


def bound_outcomes(paths: PipelinePaths, measured: MetricsFile) -> pl.DataFrame:
    """The outcomes that `measured` names; raises DataError where the file is missing or another one."""
    again = f"run `headrace evaluate {paths.pipeline}` again"
    if not paths.outcomes.is_file():
        raise DataError(f"no {paths.outcomes.name} at {paths.outcomes}; {again}")
    if (found := file_digest(paths.outcomes)) != measured.outcomes_sha256:
        raise DataError(
            f"{paths.outcomes} is not the file that {paths.metrics.name} names: "
            f"expected SHA-256 {measured.outcomes_sha256[:12]}, found {found[:12]}; {again}"
        )
    read_header(paths)
    return read_file(paths.outcomes)
