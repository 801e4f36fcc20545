"""Rows whose label is known: what registered versions make of them."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import structlog
import typer

from headrace.components.errors import DataError, ParamsError
from headrace.components.evaluation.gate import RAW
from headrace.components.evaluation.paired import intervals
from headrace.components.examples.identity import example_ids
from headrace.components.files.atomic import replace_file
from headrace.components.files.tables import write_file
from headrace.components.schema.example_schema import RowSchema
from headrace.components.schema.feature_types.category_feature import CategoryFeature
from headrace.components.schema.labels import CategoryLabel
from headrace.components.serving_model.prediction_files import InputRows, RowGroups
from headrace.components.serving_model.row_counts import RowCounts
from headrace.components.serving_model.saved_model import Model, known_categories
from headrace.components.sources.any_source import open_table
from headrace.components.sources.file import is_image
from headrace.components.tasks.row_metrics import value_of
from headrace.components.tasks.task import Measurement
from headrace.components.tasks.variants import task_of
from headrace.pipelines.commands.inference.prediction_input import Input, open_rows
from headrace.pipelines.commands.inference.predictions import model_of
from headrace.pipelines.compatibility.tensorflow_import import import_tensorflow
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.tracking.registry import Version, require_version, training_ids

log = structlog.get_logger()

CONFIDENCE = 0.95


@dataclass(frozen=True)
class LabelledOutcomes:
    """What versions made of labelled rows, by the name of each, with `example_id` and, for slices, `raw.<category>`.

    `origin` are columns that identify each row, `ids` as ingest has them, where they can be had.
    """

    origin: pl.DataFrame
    ids: pl.Series | None
    outcomes: Mapping[str, pl.DataFrame]


def evaluate_rows(
    pipeline: Pipeline, paths: PipelinePaths, *, input_file: Path, alias: str, output_file: Path | None
) -> None:
    """Print a registered version's metrics on the labelled rows of a file as JSON, with intervals at 95 %.

    The registry, MLflow and the reports stay as they are. With `output_file` (.parquet), it gets the outcomes of the
    rows. Raises ParamsError and DataError (what is wrong with the rows, said before a model is loaded).
    """
    if output_file is not None and output_file.suffix.lower() != ".parquet":
        raise ParamsError(f"can't write {output_file}: its name must end in .parquet")
    rows = open_labelled(pipeline, input_file)
    version = require_version(paths.root, pipeline.name, alias)
    import_tensorflow()
    found = outcomes_of(pipeline, paths, {alias: version}, rows)
    outcomes, trained_on = found.outcomes[alias], count_trained_on(paths, version, found.ids)
    task = task_of(pipeline.ingest.label)
    values = ((name, value_of(make(), outcomes.height)) for name, make in task.row_metrics(outcomes).items())
    metrics = {name: value for name, value in values if math.isfinite(value)}  # an area needs rows of both classes
    sure = intervals(task, outcomes, confidence=CONFIDENCE)
    scores: dict[str, Any] = {
        "model": pipeline.name,
        "version": version.number,
        "examples": outcomes.height,
        "trained_on": trained_on,
        **metrics,
        "intervals": {name: [one.low, one.high] for name, one in sure.items()},
    }
    if output_file is not None:
        with replace_file(output_file) as file:
            write_file(pl.concat([found.origin, outcomes.drop("example_id")], how="horizontal"), file)
    typer.echo(json.dumps(scores, indent=2))


def open_labelled(pipeline: Pipeline, input_file: Path) -> Input:
    """Rows of a table with the label, checked as ingest checks them.

    Raises ParamsError for what has no labels, and DataError for rows that do not fit.
    """
    label = pipeline.ingest.label
    if task_of(label).generates == "images":
        raise ParamsError(f"{pipeline.name} makes images of noise: no row has a label; `headrace evaluate` judges them")
    if input_file.is_dir():
        raise ParamsError(f"{input_file} is a folder: expected a table whose column {label.name!r} is the label")
    names = [*pipeline.normalize.transforms, *_categories_of_slices(pipeline)]
    features = {name: pipeline.ingest.features[name] for name in names} | label.columns

    def require_labels(examples: pl.DataFrame) -> None:
        check_labels(pipeline, examples, input_file)

    return open_rows(pipeline, input_file, features, check=require_labels)


def has_labels(pipeline: Pipeline, input_file: Path) -> bool:
    """Whether a table has the label's columns; of a text, which is its own label, always."""
    columns = list(pipeline.ingest.label.columns)
    if input_file.is_dir() or is_image(input_file.name):
        return False
    features = {name: pipeline.ingest.features[name] for name in pipeline.normalize.transforms}
    wanted = RowSchema(features=features).source_columns
    return set(open_table(input_file, source=pipeline.ingest.source, columns=wanted).present(columns)) == set(columns)


def check_labels(pipeline: Pipeline, rows: pl.DataFrame, file: Path) -> None:
    """Raise DataError for a class that is none, with the count of such rows; numbers were checked when read."""
    label = pipeline.ingest.label
    if not isinstance(label, CategoryLabel):
        return
    unknown = rows[label.name].filter(~rows[label.name].is_in(list(label.classes)))
    if len(unknown):
        raise DataError(
            f"{file.name}: {len(unknown):,} of {rows.height:,} labels are no class of {label.name!r}, such as "
            f"{unknown[0]!r}; expected {', '.join(label.classes[:8])}{', ...' if len(label.classes) > 8 else ''}"
        )


def _categories_of_slices(pipeline: Pipeline) -> list[str]:
    return sorted(
        {name for one in pipeline.register_.slices for name in one.columns} - set(pipeline.normalize.transforms)
    )


def _ids(pipeline: Pipeline, origin: pl.DataFrame, examples: pl.DataFrame) -> pl.Series | None:
    """Ids as ingest makes them, of the key or, where all columns of an example are here, of the content."""
    key = pipeline.ingest.key
    if key:
        texts = set(key) <= set(origin.columns) and all(origin[name].dtype == pl.String for name in key)
        return pl.Series(example_ids(origin, columns=key)) if texts else None
    if set(pipeline.ingest.columns) != set(examples.columns):
        return None
    return pl.Series(example_ids(examples, columns=examples.columns))


def count_trained_on(paths: PipelinePaths, version: Version, ids: pl.Series | None) -> int | None:
    """How many of the rows a version was trained on, with a warning if any; None where that can't be known."""
    seen = training_ids(paths.root, paths.pipeline, version)
    if ids is None or seen is None:
        return None
    count = int(ids.is_in(seen.implode()).sum())
    if count:
        log.warning("rows that the version was trained on flatter it", version=version.number, rows=count)
    return count


def outcomes_of(
    pipeline: Pipeline, paths: PipelinePaths, versions: Mapping[str, Version], rows: Input
) -> LabelledOutcomes:
    """Outcomes of versions on labelled rows, which are read once; memory holds the outcomes, and some of the rows."""
    task = task_of(pipeline.ingest.label)
    ids: list[pl.Series | None] = []
    raw: list[pl.DataFrame] = []

    def noted() -> Iterator[InputRows]:
        for block in rows.blocks:
            ids.append(_ids(pipeline, block.origin, block.examples))
            raw.append(raw_categories(pipeline, block.examples))
            yield block

    def outcome_rows(model: Model, examples: pl.DataFrame) -> pl.DataFrame:
        found = task.outcome_rows(_measurement(pipeline, model, examples))
        if found is None:
            raise DataError(f"a model of {pipeline.name!r} predicts nothing of a row")
        return found

    models = {who: model_of(paths, version) for who, version in versions.items()}
    origin, parts = by_each_model(pipeline, noted(), models, call=outcome_rows)
    rows.report()
    whole = None if any(one is None for one in ids) else pl.concat([one for one in ids if one is not None])
    numbers = whole if whole is not None else pl.Series(range(origin.height), dtype=pl.UInt64)
    beside = [numbers.alias("example_id").to_frame()]
    outcomes = {
        who: pl.concat([*beside, task.joined_outcomes(found), pl.concat(raw)], how="horizontal")
        for who, found in parts.items()
    }
    return LabelledOutcomes(origin, whole, outcomes)


def by_each_model(
    pipeline: Pipeline,
    blocks: Iterable[InputRows],
    models: Mapping[str, Any],
    *,
    call: Callable[[Model, pl.DataFrame], pl.DataFrame],
) -> tuple[pl.DataFrame, dict[str, list[pl.DataFrame]]]:
    """What identifies each row, and what `call` makes of each model and its groups of rows, by the model's name.

    The rows are read once, and given to each model as it knows them, in groups of the length that is its own.
    """
    task, features = task_of(pipeline.ingest.label), pipeline.ingest.features
    known = {who: known_categories(model) for who, model in models.items()}
    counts = {who: RowCounts() for who in models}
    lengths = {
        who: task.rows_together(model, {name: features[name] for name in model.input if name in features})
        for who, model in models.items()
    }
    groups = {who: RowGroups(length) for who, length in lengths.items()}
    origin: list[pl.DataFrame] = []
    found: dict[str, list[pl.DataFrame]] = {who: [] for who in models}

    def take(who: str, whole: Iterable[InputRows]) -> None:
        for group in whole:
            found[who].append(call(models[who], counts[who].as_known(group.examples, known[who])))

    for block in blocks:
        origin.append(block.origin)
        for who in models:
            take(who, groups[who].add(block))
    for who in models:
        take(who, groups[who].rest())
        counts[who].report(log.warning)
    return pl.concat(origin), found


def _measurement(pipeline: Pipeline, model: Model, rows: pl.DataFrame) -> Measurement:
    return Measurement(
        model=model,
        rows=rows,
        features=pipeline.ingest.features,
        examples=rows.lazy(),
        rows_of_split=lambda _: pl.LazyFrame(),
        split=pipeline.split,
        judge=None,
    )


def raw_categories(pipeline: Pipeline, examples: pl.DataFrame, *, prefix: str = "") -> pl.DataFrame:
    """The categories among the columns, which slices are by, as `raw.<category>`."""
    features: Mapping[str, Any] = pipeline.ingest.features
    names = list(CategoryFeature.among(features))
    return examples.select(
        pl.col(f"{prefix}{name}").cast(pl.String).alias(f"{RAW}{name}")
        for name in names
        if f"{prefix}{name}" in examples.columns
    )
