"""Shadow: two registered versions on the same rows, whose labels may be known or not."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl
import typer

from headrace.components.errors import LimitError, ParamsError
from headrace.components.evaluation.drift import population_stability_index
from headrace.components.evaluation.gate import Rivals, better, guarded
from headrace.components.evaluation.monitoring import prediction_columns
from headrace.components.evaluation.paired import difference
from headrace.components.files.atomic import replace_file
from headrace.components.files.tables import write_file
from headrace.components.printable import printable
from headrace.components.serving_model.saved_model import Model
from headrace.components.tasks.task import Task
from headrace.components.tasks.variants import task_of
from headrace.pipelines.commands.inference.labelled_rows import (
    LabelledOutcomes,
    by_each_model,
    count_trained_on,
    has_labels,
    open_labelled,
    outcomes_of,
)
from headrace.pipelines.commands.inference.prediction_input import Input, open_input
from headrace.pipelines.commands.inference.predictions import model_of
from headrace.pipelines.compatibility.tensorflow_import import import_tensorflow
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.tracking.registry import Version, require_version, training_ids, versions

CHALLENGER, CHAMPION = "challenger", "champion"


def shadow_models(
    pipeline: Pipeline,
    paths: PipelinePaths,
    *,
    input_file: Path,
    challenger: str | None,
    champion: str,
    output_file: Path | None,
) -> None:
    """Print how often two versions agree on rows and, where their labels are known, the paired difference.

    With labels the rows are judged by `register`'s comparison, guards and slices, without those that either version was
    trained on, as far as ids say so; nothing is promoted. Raises LimitError where the challenger is shown to be worse.
    """
    if task_of(pipeline.ingest.label).generates == "images":
        raise ParamsError(f"{pipeline.name} makes images of noise: there are no rows that two versions could score")
    if output_file is not None and output_file.suffix.lower() != ".parquet":
        raise ParamsError(f"can't write {output_file}: its name must end in .parquet")
    present = require_version(paths.root, pipeline.name, champion)
    rival = _challenger(pipeline, paths, challenger, present)
    names = f"challenger version {rival.number}, champion version {present.number}"
    both = {CHALLENGER: rival, CHAMPION: present}
    if has_labels(pipeline, input_file):
        rows = open_labelled(pipeline, input_file)
        import_tensorflow()
        scored = outcomes_of(pipeline, paths, both, rows)
        counts = [count_trained_on(paths, version, scored.ids) for version in both.values()]
        _write(output_file, scored.origin, scored.outcomes)
        typer.echo(f"{names}: {_agreement(scored.outcomes)}")
        unseen = _unseen(pipeline, paths, scored, tuple(both.values())) if any(counts) else None
        _judge(pipeline, {who: one if unseen is None else one.filter(unseen) for who, one in scored.outcomes.items()})
        return
    rows = open_input(pipeline, input_file)
    import_tensorflow()
    origin, predicted = _predicted(pipeline, rows, {who: model_of(paths, version) for who, version in both.items()})
    _write(output_file, origin, predicted)
    typer.echo(f"{names}: {_agreement(predicted)}")
    typer.echo("no labels: which of them is right is not known; give a table with the label's column")


def _predicted(
    pipeline: Pipeline, rows: Input, models: Mapping[str, Model]
) -> tuple[pl.DataFrame, dict[str, pl.DataFrame]]:
    """What identifies each row, and what each model predicts of it; memory holds this, and some of the rows."""
    task = task_of(pipeline.ingest.label)
    features = {name: pipeline.ingest.features[name] for name in pipeline.normalize.transforms}

    def predictions(model: Model, examples: pl.DataFrame) -> pl.DataFrame:
        return task.predictions(model, examples, features)

    origin, parts = by_each_model(pipeline, rows.blocks, models, call=predictions)
    rows.report()
    return origin, {who: pl.concat(tables) for who, tables in parts.items()}


def _challenger(pipeline: Pipeline, paths: PipelinePaths, named: str | None, champion: Version) -> Version:
    if named is not None:
        found = require_version(paths.root, pipeline.name, named)
        if found.number == champion.number:
            raise ParamsError(f"--challenger {named}: version {found.number} is the one that it is compared with")
        return found
    others = [one for one in versions(paths.root, pipeline.name) if one.number != champion.number]
    if not others:
        raise ParamsError(
            f"{pipeline.name} has version {champion.number} alone, so there is no challenger; "
            f"`headrace run {pipeline.name}` registers one"
        )
    return max(others, key=lambda one: one.number)


def _unseen(pipeline: Pipeline, paths: PipelinePaths, rows: LabelledOutcomes, both: tuple[Version, ...]) -> pl.Series:
    """Which rows neither version was trained on, bool[rows]."""
    unseen = pl.repeat(value=True, n=rows.origin.height, eager=True)
    for version in both:
        seen = training_ids(paths.root, pipeline.name, version)
        if seen is not None and rows.ids is not None:
            unseen &= ~rows.ids.is_in(seen.implode())
    typer.echo(f"{unseen.len() - int(unseen.sum()):,} of {unseen.len():,} rows don't count: one was trained on them")
    return unseen


def _agreement(tables: Mapping[str, pl.DataFrame]) -> str:
    """How far the predictions of both are from each other, in words."""
    ours, theirs = (prediction_columns(tables[who]) for who in (CHALLENGER, CHAMPION))
    rows = ours.height
    if not ours.columns:
        return f"{rows:,} rows"
    parts = []
    for name in [one for one in ours.columns if one != "probability"]:
        one, other = ours[name], theirs[name]
        if one.dtype == pl.String:
            same = int((one == other).sum())
            index = _index(one, other)
            parts.append(
                f"{same:,} of {rows:,} rows get the same class ({same / max(1, rows):.1%}; index of all {index:.3g})"
            )
        else:
            gaps = (one.cast(pl.Float64) - other.cast(pl.Float64)).abs().to_numpy()
            shown = f"{name} differs by {gaps.mean():.4g} in the mean, by {gaps.max(initial=0.0):.4g} at most"
            parts.append(f"{shown} ({rows:,} rows)")
    return "; ".join(parts)


def _index(ours: pl.Series, theirs: pl.Series) -> float:
    """Population stability index of the classes that both predict."""
    names = pl.concat([ours, theirs]).unique().sort()
    counts = [[int((one == name).sum()) for name in names] for one in (theirs, ours)]
    return population_stability_index(*counts)


def _judge(pipeline: Pipeline, found: dict[str, pl.DataFrame]) -> None:
    """Print what the gate would say of these rows; raise LimitError where the challenger is shown to be worse."""
    task: Task = task_of(pipeline.ingest.label)
    settings, ours, theirs = pipeline.register_, found[CHALLENGER], found[CHAMPION]
    compare = settings.compare
    paired = difference(task, ours, theirs, compare.metric, confidence=compare.confidence)
    checks = guarded(settings, ours, task, Rivals(task, ours, theirs))
    first = better(compare, paired)
    for check in (first, *checks):
        typer.echo(f"{'ok' if check.passed else 'no':5}  {printable(check.reason)}")
    worse = [check.reason for check in checks if not check.passed]
    if paired is not None and paired.gain[1] < 0:
        worse = [first.reason, *worse]
    if worse:
        raise LimitError(f"the challenger is shown to be worse: {printable('; '.join(worse))}")


def _write(output_file: Path | None, origin: pl.DataFrame, tables: Mapping[str, pl.DataFrame]) -> None:
    """Columns that identify the rows, and those of each version behind its name."""
    if output_file is None:
        return
    each = [
        table.select(pl.exclude("example_id", "^raw\\..*$").name.prefix(f"{who}.")) for who, table in tables.items()
    ]
    with replace_file(output_file) as file:
        write_file(pl.concat([origin, *each], how="horizontal"), file)
