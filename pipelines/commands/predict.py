"""Predict: raw rows or images in, predictions out."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import structlog

from components.errors import ParamsError
from components.examples.settings import CategoryLabel, ImageFeature, Label
from components.models.pictures import read_pictures
from components.models.rows import checked_rows, read_rows
from components.models.saved import load_model
from components.models.saved import predict as outputs_of
from components.sources.settings import DelimitedSource
from pipelines.params import Pipeline
from pipelines.paths import PipelinePaths
from pipelines.storage.atomic import replace_file

_WRITERS: dict[str, Callable[[pl.DataFrame, Path], None]] = {
    ".csv": pl.DataFrame.write_csv,
    ".parquet": pl.DataFrame.write_parquet,
}
_SHOWN_ROWS = 50
_SHOWN_CLASSES = 4

log = structlog.get_logger()


def predict(
    pipeline: Pipeline, paths: PipelinePaths, *, input_file: Path, output_file: Path | None, alias: str
) -> None:
    """Predict with the registered model that has the alias, for every row or image of `input_file`.

    `input_file` is a table (CSV with a header, Parquet, JSON lines), an image (PNG, JPEG) or a folder of images. The
    result goes to `output_file` (.csv or .parquet), or to standard output: a table on a terminal, else CSV.
    Everything about the input that is wrong is said before a model is loaded: DataError, ParamsError.
    """
    if output_file is not None and output_file.suffix.lower() not in _WRITERS:
        raise ParamsError(f"can't write {output_file}: its name must end in {' or '.join(_WRITERS)}")
    examples = read_examples(pipeline, input_file)
    from pipelines.tracking.registry import model_file

    predictions = predictions_for(pipeline, examples, model=model_file(paths.root, pipeline.name, alias))
    if output_file is None:
        _show(predictions)
        return
    with replace_file(output_file) as file:
        _WRITERS[output_file.suffix.lower()](predictions, file)
    log.info("predicted", rows=predictions.height, output=str(output_file))


def read_examples(pipeline: Pipeline, input_file: Path) -> pl.DataFrame:
    """Return the input as example rows: what identifies a row (file, or row and key), then the model's features."""
    features = {name: pipeline.ingest.features[name] for name in pipeline.normalize.transforms}
    source = pipeline.ingest.source
    options = (
        {"separator": source.separator, "null_values": source.null_values}
        if isinstance(source, DelimitedSource)
        else {}
    )
    ...
