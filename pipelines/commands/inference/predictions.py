"""Predict: raw rows or images in, predictions out."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import structlog
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.components.errors import DataError, ParamsError
from headrace.components.files.atomic import replace_file
from headrace.components.files.regular_files import require_regular
from headrace.components.schema.example_schema import RowSchema
from headrace.components.schema.feature_types.image_feature import ImageFeature
from headrace.components.schema.features import Feature
from headrace.components.serving_model import spreadsheet_formulas
from headrace.components.serving_model.images import read_images
from headrace.components.serving_model.prediction_files import read_rows
from headrace.components.serving_model.prediction_rows import as_known, image_rows, rows_of
from headrace.components.serving_model.saved_model import Model, known_categories, load_model
from headrace.components.sources.any_source import open_table
from headrace.components.sources.file import IMAGE_SUFFIXES, is_image
from headrace.components.sources.other_files import OtherFiles, should_report
from headrace.components.sources.table_file import TableFile
from headrace.components.tasks.variants import task_of
from headrace.pipelines.artifacts.predictions_table import write_predictions_table
from headrace.pipelines.commands.inference.checkpoint import checkpoint_model, read_checkpoint
from headrace.pipelines.compatibility.tensorflow_import import import_tensorflow
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.project.trusted_code import code_of_project

if TYPE_CHECKING:
    from headrace.pipelines.tracking.registry import Version

_WRITERS: dict[str, Callable[[pl.DataFrame, Path], None]] = {
    ".csv": pl.DataFrame.write_csv,
    ".parquet": pl.DataFrame.write_parquet,
}
NUMBER = "row"  # the column that has each row's number, from 1
_SHOWN_ROWS = 50
_SHOWN_CLASSES = 4

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
    `keep_inputs` the rows are beside their predictions, and the file says which version made them.

    Raises ParamsError, DataError (what is wrong with the input, said before a model is loaded) and ServiceError.
    """
    task = task_of(pipeline.ingest.label)
    if task.generates == "images":
        raise ParamsError(
            f"{pipeline.name} makes images of noise and predicts nothing; "
            f"`headrace generate {pipeline.name} --output images.png` writes some"
        )
    check_output(output_file)
    kept_in = _kept_in(output_file, checkpoint=checkpoint, submission=submission) if keep_inputs else None
    origin, examples = read_input(pipeline, input_file)
    import_tensorflow()  # takes seconds, which a mistake in the input should not cost
    if kept_in is not None:
        _write_with_inputs(pipeline, paths, origin, examples, alias=alias, output_file=kept_in, of=input_file)
        return
    model, version = _model(pipeline, paths, alias=alias, checkpoint=checkpoint)
    predictions = predictions_of(pipeline, origin, examples, model=model)
    if submission:
        key = [name for name in pipeline.ingest.key if name in predictions.columns]
        asked = [pl.col(column).alias(name) for name, column in task.submission_columns.items()]
        predictions = predictions.select(*key, *asked)
    deliver(predictions, output_file, escape_formulas=escape_formulas)
    if output_file is not None and version is not None:
        _keep_in_journal(paths, version, of=input_file, output_file=output_file, rows=predictions.height)


def _keep_in_journal(paths: PipelinePaths, version: "Version", *, of: Path, output_file: Path, rows: int) -> None:
    """Note which version made a file of predictions, for `headrace lineage`."""
    from headrace.pipelines.tracking.prediction_journal import keep_predictions

    keep_predictions(
        paths.root, model=paths.pipeline, version=version.number, input_file=of, output_file=output_file, rows=rows
    )


def _write_with_inputs(
    pipeline: Pipeline,
    paths: PipelinePaths,
    origin: pl.DataFrame,
    examples: pl.DataFrame,
    *,
    alias: str,
    output_file: Path,
    of: Path,
) -> None:
    """Write predictions with their rows, as the model knows them, and which version made them."""
    from headrace.pipelines.tracking.registry import require_version

    version = require_version(paths.root, pipeline.name, alias)
    model = model_of(paths, version)
    examples = as_known(examples, known_categories(model), warn=lambda _: None)  # which is reported below
    predictions = predictions_of(pipeline, origin, examples, model=model)
    write_predictions_table(
        output_file,
        predictions,
        examples,
        pipeline=pipeline.name,
        version=version.number,
        sha256=version.tags.get("model_sha256", ""),
        of=of,
    )
    _keep_in_journal(paths, version, of=of, output_file=output_file, rows=predictions.height)
    log.info("predicted", rows=predictions.height, version=version.number, output=str(output_file))


def _kept_in(output_file: Path | None, *, checkpoint: str | None, submission: bool) -> Path:
    """The file that rows are kept in; raises ParamsError for what can't have them."""
    if output_file is None or output_file.suffix.lower() != ".parquet":
        raise ParamsError("--keep-inputs: give --output FILE.parquet, which has room for the version and for images")
    if checkpoint is not None or submission:
        raise ParamsError("--keep-inputs is for a registered version: leave --checkpoint and --submission out")
    return output_file


def check_output(output_file: Path | None) -> None:
    """Raise ParamsError for a file whose name does not say in which format it is to be written."""
    if output_file is not None and output_file.suffix.lower() not in _WRITERS:
        raise ParamsError(f"can't write {output_file}: its name must end in {' or '.join(_WRITERS)}")


def deliver(predictions: pl.DataFrame, output_file: Path | None, *, escape_formulas: bool) -> None:
    """Write predictions to the file, or to standard output where there is none; `formulas` says what is escaped."""
    is_csv = not Console().is_terminal if output_file is None else output_file.suffix.lower() == ".csv"
    if is_csv and escape_formulas:
        predictions = spreadsheet_formulas.escape_formulas(predictions)
    elif is_csv and (count := spreadsheet_formulas.count_formulas(predictions)):
        log.warning("cells that a spreadsheet would run as formulas; --escape-formulas makes them text", cells=count)
    if output_file is None:
        show(predictions)
        return
    with replace_file(output_file) as file:
        _WRITERS[output_file.suffix.lower()](predictions, file)
    log.info("predicted", rows=predictions.height, output=str(output_file))


def read_input(pipeline: Pipeline, input_file: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Columns that identify each row (its file; or its number and the key's columns), and the rows as examples."""
    features = {name: pipeline.ingest.features[name] for name in pipeline.normalize.transforms}
    if not input_file.exists():
        raise ParamsError(f"no file {input_file}")
    for file in input_file.iterdir() if input_file.is_dir() else (input_file,):
        require_regular(file)
    if input_file.is_dir() or is_image(input_file.name):
        return _read_images(image_files(input_file), features)
    return read_table(pipeline, input_file, features)


def read_table(
    pipeline: Pipeline, input_file: Path, features: Mapping[str, Feature]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Number and key of each row of a table, and these of its columns in the types of examples."""
    wanted = RowSchema(features=dict(features), key=()).source_columns
    table = open_table(input_file, source=pipeline.ingest.source, columns=wanted)
    if table.replaced_by is not None:
        log.info("columns are named as in params.yaml, and not as in the header", columns=list(table.replaced_by))
    key = table.present([name for name in pipeline.ingest.key if name != NUMBER])
    if ImageFeature.among(features):
        keys, examples = _read_image_table(table, features, key=key)
    else:
        schema = RowSchema(features=dict(features), key=key)
        keys, examples = read_rows(table.blocks(schema), schema, warn=log.warning)
    numbers = pl.Series(NUMBER, range(1, examples.height + 1), dtype=pl.Int64)
    return pl.DataFrame([numbers]).hstack(keys), examples


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


def predictions_of(pipeline: Pipeline, origin: pl.DataFrame, examples: pl.DataFrame, *, model: Model) -> pl.DataFrame:
    """`origin`, and beside it the columns of predictions that the task has."""
    features = {name: pipeline.ingest.features[name] for name in examples.columns}
    examples = as_known(examples, known_categories(model), warn=log.warning)
    predictions = task_of(pipeline.ingest.label).predictions(model, examples, features)
    return pl.concat([origin, predictions], how="horizontal")


def image_files(path: Path) -> list[Path]:
    """An image, or those of a folder, by name; raise DataError for a folder without any."""
    others = OtherFiles()
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if others.meet(file.name))
    if noted := should_report(others.counts):
        log.warning("files that are no images by their names were left out", files=noted)
    if not files:
        raise DataError(f"no images in {path}; looked for names that end in {', '.join(IMAGE_SUFFIXES)}")
    return files


def _read_images(files: list[Path], features: Mapping[str, Feature]) -> tuple[pl.DataFrame, pl.DataFrame]:
    images = ImageFeature.among(features)
    if len(images) != len(features) or len(images) != 1:
        raise ParamsError(f"the model takes rows with {', '.join(features)}, not images; give a table")
    [(name, feature)] = images.items()
    pixels = read_images(files, name=name, feature=feature, warn=log.warning)
    return pl.DataFrame({"file": [file.name for file in files]}), pixels.to_frame()


def _read_image_table(
    table: TableFile, features: Mapping[str, Feature], *, key: Sequence[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The columns of the key, and the rows of a table of images, which ingest takes in files beside it."""
    images = ImageFeature.among(features)
    if len(images) != 1:
        raise ParamsError("expected one image a row: an image file, a folder of them, .parquet or .jsonl")
    [(name, feature)] = images.items()
    others = {one: of for one, of in features.items() if one != name}
    columns = RowSchema(features=others).source_columns if others else ()
    raw = table.read_nested(tuple(dict.fromkeys([*key, *columns, name])))
    examples = image_rows(raw, name=name, feature=feature)
    if others:
        values = raw.select(raw[one] if raw[one].dtype.is_nested() else raw[one].cast(pl.String) for one in columns)
        examples = rows_of(values.iter_rows(named=True), others, warn=log.warning).hstack(examples)
    return raw.select(key), examples.select(list(features))


def show(predictions: pl.DataFrame) -> None:
    """Write predictions to standard output: a table of the first rows on a terminal, all of them as CSV elsewhere."""
    console = Console()
    if not console.is_terminal:
        predictions.write_csv(sys.stdout)
        return
    shown = predictions.head(_SHOWN_ROWS)
    classes = [name for name in predictions.columns if name.startswith("probability_")]
    if len(classes) > _SHOWN_CLASSES:  # too wide: only the probability of what is predicted
        shown = shown.select(pl.exclude(classes), pl.max_horizontal(classes).alias("probability"))
    console.print(_table(shown))
    if (rest := predictions.height - shown.height) > 0:
        console.print(f"and {rest:,} more rows: --output FILE writes all of them")


def _table(shown: pl.DataFrame) -> Table:
    numeric = {name for name, dtype in shown.schema.items() if dtype.is_numeric()}
    table = Table()
    for name in shown.columns:
        table.add_column(Text(name), justify="right" if name in numeric else "left")
    for row in shown.iter_rows():
        # Text, because a str would be read as rich's markup, and the words are the user's data.
        table.add_row(*(Text(f"{value:.4g}" if isinstance(value, float) else str(value)) for value in row))
    return table
