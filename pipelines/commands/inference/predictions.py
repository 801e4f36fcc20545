"""Predict: raw rows or images in, predictions out."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import structlog

from headrace.components.errors import DataError, ParamsError
from headrace.components.serving_model.prediction_files import InputRows, in_groups
from headrace.components.serving_model.saved_model import Model, known_categories, load_model
from headrace.components.tasks.variants import task_of
from headrace.pipelines.artifacts.predictions_table import write_predictions_table
from headrace.pipelines.commands.inference.checkpoint import checkpoint_model, read_checkpoint
from headrace.pipelines.commands.inference.prediction_input import Input, open_input
from headrace.pipelines.commands.inference.prediction_output import check_output, deliver
from headrace.pipelines.compatibility.tensorflow_import import import_tensorflow
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.project.trusted_code import code_of_project

if TYPE_CHECKING:
    from headrace.pipelines.tracking.registry import Version

log = structlog.get_logger()


def write_predictions(  # noqa: PLR0913 - each by its keyword
    pipeline: Pipeline,
    paths: PipelinePaths,
    *,
    input_file: Path,
    output_file: Path | None,
    alias: str,
    checkpoint: str | None = None,
    submission: bool = False,
    keep_inputs: bool = False,
    escape_formulas: bool = False,
) -> None:
    """Predict every row or image of `input_file` with the registered model that has the alias, or with a checkpoint's.

    `input_file` is a table (CSV with a header, Parquet, JSON lines), an image (PNG, JPEG) or a folder of images. The
    result goes to `output_file` (.csv or .parquet) or to standard output: a table on a terminal, CSV elsewhere. For a
    `submission` it is the key, and the prediction under the label's name, as competitions require it. With
    `keep_inputs` the rows are beside their predictions, and the file says which version made them. Memory holds some
    blocks of rows, however many there are; the output appears when it is whole.

    Raises ParamsError, DataError (what is wrong with the first rows is said before a model is loaded) and ServiceError.
    """
    require_predictions(pipeline)
    check_output(output_file)
    kept_in = _kept_in(output_file, checkpoint=checkpoint, submission=submission) if keep_inputs else None
    rows = open_input(pipeline, input_file)
    import_tensorflow()  # takes seconds, which a mistake in the input should not cost
    model, version = _model(pipeline, paths, alias=alias, checkpoint=checkpoint)
    if kept_in is not None and version is not None:
        count = write_predictions_table(
            kept_in,
            predicted(pipeline, rows, model),
            pipeline=pipeline.name,
            version=version.number,
            sha256=version.tags.get("model_sha256", ""),
            of=input_file.name,
        )
        log.info("predicted", rows=count, version=version.number, output=str(kept_in))
    else:
        parts = (one.origin for one in predicted(pipeline, rows, model))
        if submission:
            parts = (for_submission(pipeline, part) for part in parts)
        count = deliver(parts, output_file, escape_formulas=escape_formulas)
    rows.report()
    if output_file is not None and version is not None:
        _keep_in_journal(paths, version, of=input_file, output_file=output_file, rows=count)


def require_predictions(pipeline: Pipeline) -> None:
    """Raise ParamsError for a pipeline whose model predicts nothing of a row."""
    if task_of(pipeline.ingest.label).generates == "images":
        raise ParamsError(
            f"{pipeline.name} makes images of noise and predicts nothing; "
            f"`headrace generate {pipeline.name} --output images.png` writes some"
        )


def predicted(pipeline: Pipeline, rows: Input, model: Model) -> Iterator[InputRows]:
    """Predictions beside what identifies each row, as `origin`, and the rows as the model knows them.

    The model is called with groups of rows of one length: so each has the bits that it has among all rows at once.
    """
    task, known = task_of(pipeline.ingest.label), known_categories(model)
    features = {name: pipeline.ingest.features[name] for name in pipeline.normalize.transforms}
    first = 1
    for group in in_groups(rows.blocks, task.rows_together(model, features)):
        examples = rows.counts.as_known(group.examples, known)
        try:
            predictions = task.predictions(model, examples, features)
        except DataError as error:
            if first == 1:
                raise
            raise DataError(f"rows {first:,} to {first + examples.height - 1:,}: {error}") from error
        yield InputRows(pl.concat([group.origin, predictions], how="horizontal"), examples)
        first += examples.height


def for_submission(pipeline: Pipeline, predictions: pl.DataFrame) -> pl.DataFrame:
    """The key, and what is predicted under the label's name."""
    key = [name for name in pipeline.ingest.key if name in predictions.columns]
    asked = task_of(pipeline.ingest.label).submission_columns
    return predictions.select(*key, *(pl.col(column).alias(name) for name, column in asked.items()))


def _keep_in_journal(paths: PipelinePaths, version: "Version", *, of: Path, output_file: Path, rows: int) -> None:
    """Note which version made a file of predictions, for `headrace lineage`."""
    from headrace.pipelines.tracking.prediction_journal import keep_predictions

    keep_predictions(
        paths.root, model=paths.pipeline, version=version.number, input_file=of, output_file=output_file, rows=rows
    )


def _kept_in(output_file: Path | None, *, checkpoint: str | None, submission: bool) -> Path:
    """The file that rows are kept in; raises ParamsError for what can't have them."""
    if output_file is None or output_file.suffix.lower() != ".parquet":
        raise ParamsError("--keep-inputs: give --output FILE.parquet, which has room for the version and for images")
    if checkpoint is not None or submission:
        raise ParamsError("--keep-inputs is for a registered version: leave --checkpoint and --submission out")
    return output_file


def _model(
    pipeline: Pipeline, paths: PipelinePaths, *, alias: str, checkpoint: str | None
) -> tuple[Model, "Version | None"]:
    """The model, and the version that it is; None of a checkpoint's."""
    if checkpoint is not None:
        return checkpoint_model(pipeline, paths, read_checkpoint(paths, checkpoint)), None
    from headrace.pipelines.tracking.registry import require_version

    version = require_version(paths.root, pipeline.name, alias)
    return model_of(paths, version), version


def model_of(paths: PipelinePaths, version: "Version") -> Model:
    """The model of a registered version; raises DataError where its file is not the one that was registered."""
    from headrace.pipelines.tracking.registry import version_file

    return load_model(version_file(paths.root, paths.pipeline, version), may_run=code_of_project(paths.root))
