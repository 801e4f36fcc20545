"""The champion on the rows that its challenger is measured on."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from headrace.components.errors import DataError
from headrace.components.examples.held_out import measured_examples
from headrace.components.examples.shards import scan
from headrace.components.serving_model.saved_model import load_model
from headrace.components.tasks.row_metrics import value_of
from headrace.components.tasks.task import Measurement, Task
from headrace.components.tasks.variants import task_of
from headrace.pipelines.compatibility.tensorflow_import import import_tensorflow
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.project.trusted_code import code_of_project
from headrace.pipelines.tracking.registry import Version, training_ids, version_file


@dataclass(frozen=True)
class Champion:
    """What the champion makes of the present test rows, by its saved model, which takes raw ones.

    `counts` is bool[rows]: those that it was not trained on. `outcomes` are of these alone; None for generated images.
    """

    metrics: dict[str, float]
    counts: pl.Series
    outcomes: pl.DataFrame | None
    note: str


def measured_champion(pipeline: Pipeline, paths: PipelinePaths, champion: Version) -> Champion:
    """Evaluate the champion on the raw rows of the present test split; raises DataError where it can't be."""
    import_tensorflow()
    examples, split, task = scan(paths.examples), pipeline.split, task_of(pipeline.ingest.label)
    measurement = Measurement(
        model=load_model(version_file(paths.root, pipeline.name, champion), may_run=code_of_project(paths.root)),
        rows=measured_examples(examples, scan(paths.splits / split.measured_on), split=split),
        features=pipeline.ingest.features,
        examples=examples,
        rows_of_split=lambda name: scan(paths.splits / name),
        split=split,
        judge=pipeline.evaluate.judge,
    )
    ids = measurement.rows["example_id"]
    rows = task.outcome_rows(measurement)
    if rows is None:
        return Champion(task.metrics(measurement), pl.repeat(value=True, n=len(ids), eager=True), None, "")
    _require_finite(rows)
    counts, note = _not_trained_on(paths, champion, ids)
    outcomes = pl.concat([measurement.rows.select("example_id"), rows], how="horizontal").filter(counts)
    return Champion(_metrics(task, outcomes), counts, outcomes, note)


def _not_trained_on(paths: PipelinePaths, champion: Version, ids: pl.Series) -> tuple[pl.Series, str]:
    """Which rows count for a champion, bool[rows], and a sentence where not all do."""
    who = f"the champion, version {champion.number},"
    seen = training_ids(paths.root, paths.pipeline, champion)
    if seen is None:
        every = pl.repeat(value=True, n=len(ids), eager=True)
        return every, f"{who} does not say which rows it was trained on; those among the test rows help it"
    counts = ~ids.is_in(seen.implode())
    left = int(counts.sum())
    if left == len(ids):
        return counts, ""
    return counts, f"{who} was trained on {len(ids) - left:,} of the {len(ids):,} test rows, which don't count"


def _metrics(task: Task, outcomes: pl.DataFrame) -> dict[str, float]:
    if not outcomes.height:
        return {}
    return {name: value_of(make(), outcomes.height) for name, make in task.row_metrics(outcomes).items()}


def _require_finite(rows: pl.DataFrame) -> None:
    numbers = rows.select(pl.selectors.float()).to_numpy()
    if bad := int(np.count_nonzero(~np.isfinite(numbers).all(axis=1))):
        raise DataError(f"it gives no finite number for {bad} of {rows.height} rows")
