"""What is kept with a registered version for monitoring: its training rows as a profile, and outcomes of its test."""

import io
from pathlib import Path
from typing import Literal

import polars as pl

from headrace.components.errors import DataError
from headrace.components.evaluation.monitoring import Reference, reference_of
from headrace.components.examples.shards import scan
from headrace.components.files.tables import read_file, read_metadata, write_file
from headrace.components.statistics.profile import Profile, profile
from headrace.pipelines.artifacts.artifact import Artifact
from headrace.pipelines.artifacts.metrics_record import read_metrics
from headrace.pipelines.artifacts.outcomes_table import bound_outcomes
from headrace.pipelines.artifacts.run_record import read_run
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.tracking.registry import Version, reference_file

_HEADER = "headrace_reference"  # key of the header in the file's own metadata


class ReferenceHeader(Artifact):
    """The profiles of a reference; its outcomes are the table."""

    format_version: Literal[1] = 1
    pipeline: str
    inputs: Profile
    predictions: Profile


def training_reference(pipeline: Pipeline, paths: PipelinePaths, outcomes: pl.DataFrame) -> Reference:
    """The reference of the last training: what its model takes of the training rows, their label, and its outcomes."""
    names = tuple(pipeline.normalize.transforms)
    features = {name: pipeline.ingest.features[name] for name in names} | pipeline.ingest.label.columns
    ids = scan(paths.splits / "train").select("example_id").unique()
    rows = scan(paths.examples).join(ids, on="example_id", how="semi")
    columns = profile(rows, features=features)
    return reference_of(Profile(rows=max(one.rows for one in columns.values()), columns=columns), outcomes)


def reference_content(pipeline: str, reference: Reference) -> bytes:
    """The reference as a Parquet file; equal references give equal bytes."""
    header = ReferenceHeader(pipeline=pipeline, inputs=reference.inputs, predictions=reference.predictions)
    buffer = io.BytesIO()
    write_file(reference.outcomes, buffer, metadata={_HEADER: header.model_dump_json()})
    return buffer.getvalue()


def version_reference(pipeline: Pipeline, paths: PipelinePaths, version: Version) -> Reference:
    """The reference of a registered version.

    One that an older Headrace registered has none: it is made of the last training where that is the version's, and
    DataError is raised elsewhere.
    """
    file = reference_file(paths.root, pipeline.name, version)
    if file is not None:
        return _read(file)
    if paths.run.is_file() and read_run(paths).model_sha256 == version.tags.get("model_sha256"):
        return training_reference(pipeline, paths, bound_outcomes(paths, read_metrics(paths)))
    raise DataError(
        f"version {version.number} of model {pipeline.name!r} was registered without what monitoring compares with, by "
        f"an older Headrace; `headrace run {pipeline.name}` trains and registers one that has it"
    )


def _read(file: Path) -> Reference:
    try:
        header = ReferenceHeader.model_validate_json(read_metadata(file).get(_HEADER) or "{}")
    except ValueError as error:
        raise DataError(f"{file} is damaged, or of another version of Headrace; restore it from a backup") from error
    return Reference(header.inputs, header.predictions, read_file(file))
