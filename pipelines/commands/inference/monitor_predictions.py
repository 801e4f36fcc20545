"""Monitor: drift of what a registered version has predicted, and its quality once labels come."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import typer

from headrace.components.errors import DataError, LimitError, ParamsError
from headrace.components.evaluation.monitoring import (
    Finding,
    Quality,
    Reference,
    drift_findings,
    features_of,
    prediction_columns,
    quality,
    worst_first,
)
from headrace.components.evaluation.monitoring_page import render_monitoring
from headrace.components.evaluation.settings import Guard
from headrace.components.files.atomic import replace_file
from headrace.components.printable import printable
from headrace.components.schema.example_schema import RowSchema
from headrace.components.serving_model.prediction_files import NUMBER, read_rows
from headrace.components.sources.any_source import open_table
from headrace.components.statistics.profile import summarize_table
from headrace.components.statistics.summary import TableSummary, merge_all
from headrace.components.tasks.variants import task_of
from headrace.pipelines.artifacts.artifact import write_artifact
from headrace.pipelines.artifacts.monitoring_report import MonitoringReport
from headrace.pipelines.artifacts.predictions_table import (
    INPUT,
    PredictionsHeader,
    predictions_columns,
    read_predictions_batches,
    read_predictions_header,
    read_predictions_table,
)
from headrace.pipelines.commands.inference.labelled_rows import check_labels, raw_categories
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.tracking.monitoring_reference import version_reference
from headrace.pipelines.tracking.registry import Version, require_version

_FILE = "file"  # the column of predictions of images that says which one it was
_SHOWN_ALERTS = 3
_ROW_LEVELS = ("alert", "warn")


@dataclass(frozen=True)
class _PredictedFile:
    """One file of predictions of the version."""

    path: Path
    header: PredictionsHeader


def monitor_predictions(  # noqa: PLR0913 - each by its keyword
    pipeline: Pipeline,
    paths: PipelinePaths,
    *,
    input_path: Path,
    labels_path: Path | None,
    alias: str,
    since: datetime | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Compare predictions of a registered version with its training, and report where limits are crossed.

    `input_path` is a folder, or a file, that `headrace predict --keep-inputs` has written. Of rows that were predicted
    more than once the last prediction counts. Writes monitoring.json and monitoring.html. Raises LimitError where
    something is beyond a limit, and ParamsError or DataError, before anything is written, where there is nothing to
    compare.
    """
    task = task_of(pipeline.ingest.label)
    if task.generates == "images":
        raise ParamsError(f"{pipeline.name} makes images of noise: it predicts nothing that could be monitored")
    if task.generates == "text" and labels_path is not None:
        raise ParamsError("--labels: the label of a text is in it; `headrace evaluate --input` scores texts")
    version = require_version(paths.root, pipeline.name, alias)
    files = _files_of(version, pipeline, input_path, since=since)
    reference = version_reference(pipeline, paths, version)
    labels = None if labels_path is None else _read_labels(pipeline, labels_path)
    looked = _look(pipeline, files, reference, labels)
    report = MonitoringReport(
        pipeline=pipeline.name,
        version=version.number,
        model_sha256=version.tags.get("model_sha256", ""),
        checked_at=datetime.now(UTC),
        predicted_from=min(one.header.predicted_at for one in files),
        predicted_to=max(one.header.predicted_at for one in files),
        files=len(files),
        rows=looked.rows,
        labelled_rows=looked.labelled_rows,
        alerts=sum(one.level == "alert" for one in looked.findings),
        warnings=sum(one.level == "warn" for one in looked.findings),
        findings=tuple(looked.findings),
        metrics=dict(looked.quality.metrics) if looked.quality else {},
        intervals=dict(looked.quality.intervals) if looked.quality else {},
    )
    folder = output or paths.monitoring
    _write(report, folder)
    _show(report, folder, as_json=as_json)
    if report.alerts:
        raise LimitError(_alert(report))


@dataclass(frozen=True)
class _Looked:
    """What was found in the predictions; `findings` begin with the alerts."""

    rows: int
    labelled_rows: int | None
    findings: Sequence[Finding]
    quality: Quality | None


def _files_of(
    version: Version, pipeline: Pipeline, input_path: Path, *, since: datetime | None
) -> list[_PredictedFile]:
    """Files of predictions of the version, the last first; raises DataError where there is none."""
    files = sorted(input_path.rglob("*.parquet")) if input_path.is_dir() else [input_path]
    command = (
        f"`headrace predict {pipeline.name} --keep-inputs --output FILE.parquet`, as `schedule.predict` does, writes"
    )
    if not files:
        raise DataError(f"no predictions in {input_path}: expected .parquet files; {command} them")
    headers = [(file, read_predictions_header(file)) for file in files]
    found = [_PredictedFile(file, header) for file, header in headers if header and header.pipeline == pipeline.name]
    if not found:
        raise DataError(
            f"{input_path}: {len(files)} .parquet files, none with predictions of {pipeline.name} and their rows; "
            f"{command} such a file"
        )
    of_version = [one for one in found if one.header.version == version.number]
    if not of_version:
        counts = Counter(one.header.version for one in found)
        there_are = ", ".join(f"{count} of version {number}" for number, count in sorted(counts.items()))
        raise DataError(
            f"{input_path}: no predictions of version {version.number}, there are {there_are}; `--alias NUMBER` "
            "monitors another version"
        )
    chosen = [one for one in of_version if since is None or one.header.predicted_at >= since]
    if since is not None and not chosen:
        last = max(one.header.predicted_at for one in of_version)
        raise DataError(f"{input_path}: no predictions since {since.isoformat()}; the last are of {last.isoformat()}")
    return sorted(chosen, key=lambda one: (one.header.predicted_at, one.path), reverse=True)


def _look(
    pipeline: Pipeline, files: Sequence[_PredictedFile], reference: Reference, labels: pl.DataFrame | None
) -> _Looked:
    """Drift of all files and, of the rows that have labels, quality.

    In memory are some rows at a time, the keys of all and, where there are labels, what was predicted.
    """
    task, settings = task_of(pipeline.ingest.label), pipeline.monitor
    if settings.guards is None:
        settings = settings.model_copy(update={"guards": {pipeline.register_.compare.metric: Guard()}})
    inputs: list[TableSummary] = []
    predictions: list[TableSummary] = []
    scored: list[pl.DataFrame] = []
    by = _match_columns(pipeline, labels, files) if labels is not None else []
    for rows in _latest_rows(pipeline, files):
        inputs.append(_summarize_inputs(pipeline, rows, reference))
        predicted = prediction_columns(rows)
        predictions.append(summarize_table(predicted, columns=features_of(predicted)))
        if labels is not None:
            scored.append(rows.select(pl.exclude(f"^{INPUT}.*$")).hstack(raw_categories(pipeline, rows, prefix=INPUT)))
    summary, result = None, None
    if labels is not None:
        outcomes, matched = _score(pipeline, pl.concat(scored), labels, by)
        columns = pipeline.ingest.label.columns
        summary = summarize_table(matched, columns=columns)
        result = quality(task, outcomes, reference.outcomes, settings)
    findings = drift_findings(
        reference, inputs=merge_all(inputs), predictions=merge_all(predictions), labels=summary, settings=settings
    )
    findings = worst_first([*findings, *(result.findings if result else ())])
    return _Looked(merge_all(inputs).rows, summary.rows if summary else None, findings, result)


def _latest_rows(pipeline: Pipeline, files: Sequence[_PredictedFile]) -> Iterator[pl.DataFrame]:
    """Rows of the files from the last to the first, some at a time, without those that a later one has by their key."""
    seen: pl.DataFrame | None = None
    for one in files:
        columns = predictions_columns(one.path)
        key = [name for name in pipeline.ingest.key if name in columns] or [_FILE]
        if not set(key) <= set(columns):
            yield from read_predictions_batches(one.path)
            continue
        keys = read_predictions_table(one.path, columns=key).select(pl.col(key).cast(pl.String))
        is_latest = _is_latest(keys, seen)
        first = 0
        for rows in read_predictions_batches(one.path):
            kept = rows.filter(is_latest[first : first + rows.height])
            first += rows.height
            yield kept.with_columns(pl.col(key).cast(pl.String))
        latest = keys.filter(is_latest)
        seen = latest if seen is None else pl.concat([seen, latest])


def _is_latest(keys: pl.DataFrame, seen: pl.DataFrame | None) -> pl.Series:
    """Which rows of a file have the last prediction of their key, bool[rows]; `seen` are keys of later files."""
    is_last = keys.select(pl.struct(keys.columns).is_last_distinct()).to_series()
    if seen is None:
        return is_last
    places = keys.select(pl.struct(keys.columns).alias("key"), place=pl.int_range(pl.len()))
    fresh = places.join(seen.select(pl.struct(keys.columns).alias("key")), on="key", how="anti", nulls_equal=True)
    return is_last & pl.int_range(keys.height, eager=True).is_in(fresh["place"].implode())


def _summarize_inputs(pipeline: Pipeline, rows: pl.DataFrame, reference: Reference) -> TableSummary:
    features = {name: pipeline.ingest.features[name] for name in pipeline.normalize.transforms}
    features = {name: one for name, one in features.items() if name in reference.inputs.columns}
    if missing := [name for name in features if f"{INPUT}{name}" not in rows.columns]:
        raise DataError(
            f"the predictions lack the column {INPUT}{missing[0]}: they are of other settings; predict these rows again"
        )
    table = rows.select(pl.col(f"{INPUT}{name}").alias(name) for name in features)
    return summarize_table(table, columns=features)


def _read_labels(pipeline: Pipeline, path: Path) -> pl.DataFrame | None:
    """Labels of a file, or of all files of a folder; None for a folder that none has arrived in yet."""
    if path.is_file():
        return _read_label_file(pipeline, path)
    files = sorted(file for file in path.iterdir() if not file.name.startswith((".", "_")))
    if not files:
        typer.echo(f"no labels in {path} yet", err=True)
        return None
    tables = [_read_label_file(pipeline, file) for file in files]
    shared = [name for name in tables[0].columns if all(name in table.columns for table in tables)]
    return pl.concat([table.select(shared) for table in tables])


def _read_label_file(pipeline: Pipeline, file: Path) -> pl.DataFrame:
    """The label's columns in the types of examples, and those columns, as text, that say of which prediction it is."""
    columns = pipeline.ingest.label.columns
    candidates = [*pipeline.ingest.key, _FILE, NUMBER]
    table = open_table(file, source=pipeline.ingest.source, columns=[*columns])
    present = table.present([*columns, *candidates])
    if missing := [name for name in columns if name not in present]:
        raise DataError(f"{file.name} has no column {missing[0]!r}, which is the label")
    by = table.present(list(dict.fromkeys(candidates)))
    schema = RowSchema(features=columns, key=by)
    keys, labels = read_rows(table.blocks(schema), schema, warn=lambda _: None)
    check_labels(pipeline, labels, file)
    return pl.DataFrame([*(one.cast(pl.String) for one in keys), *labels])


def _match_columns(pipeline: Pipeline, labels: pl.DataFrame, files: Sequence[_PredictedFile]) -> list[str]:
    """The columns by which labels belong to predictions: the key, the image's file, or of one file the row's number."""
    predicted = predictions_columns(files[0].path)
    names = (
        [list(pipeline.ingest.key)] if pipeline.ingest.key else [[_FILE], [NUMBER]] if len(files) == 1 else [[_FILE]]
    )
    for by in names:
        if set(by) <= set(predicted) and set(by) <= set(labels.columns):
            return by
    expected = " or ".join(", ".join(by) for by in names)
    there_are = ", ".join(name for name in predicted if not name.startswith(INPUT))
    raise DataError(
        f"--labels: expected the column {expected} in labels and predictions, by which they are matched; "
        f"labels have {', '.join(labels.columns)}, predictions {there_are}"
    )


def _score(
    pipeline: Pipeline, predictions: pl.DataFrame, labels: pl.DataFrame, by: list[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Outcomes of the predictions that have a label, and those labels; raises DataError where none has."""
    columns = list(pipeline.ingest.label.columns)
    if twice := int(labels.select(by).is_duplicated().sum()):
        raise DataError(f"--labels: {twice:,} rows have the same {', '.join(by)} as others; give one label for each")
    predictions = predictions.with_columns(pl.col(by).cast(pl.String))
    of_label = labels.select(*by, *(pl.col(name).alias(f"label.{name}") for name in columns))
    matched = predictions.join(of_label, on=by, how="inner", maintain_order="left")
    if not matched.height:
        raise DataError(
            f"--labels: none of {labels.height:,} labels has the {', '.join(by)} of a prediction, of which there are "
            f"{predictions.height:,}; such as {labels[by[0]][0]!r} and {predictions[by[0]][0]!r}"
        )
    if left := labels.height - matched.height:
        typer.echo(f"{left:,} of {labels.height:,} labels are of no prediction here", err=True)
    found = matched.select(pl.col(f"label.{name}").alias(name) for name in columns)
    outcomes = task_of(pipeline.ingest.label).scored(matched, found)
    ids = pl.DataFrame({"example_id": pl.Series(range(matched.height), dtype=pl.UInt64)})
    return pl.concat([ids, outcomes, matched.select("^raw\\..*$")], how="horizontal"), found


def _write(report: MonitoringReport, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "Predictions": f"{report.rows:,} rows of {report.files} files",
        "Predicted": f"{report.predicted_from:%Y-%m-%d %H:%M} to {report.predicted_to:%Y-%m-%d %H:%M} UTC",
        "Labels": "none yet" if report.labelled_rows is None else f"{report.labelled_rows:,} rows",
        "Checked": f"{report.checked_at:%Y-%m-%d %H:%M} UTC",
        "Model": report.model_sha256[:16],
    }
    page = render_monitoring(
        report.pipeline, version=report.version, summary=_summary(report), facts=facts, findings=report.findings
    )
    with replace_file(folder / "monitoring.html") as file:
        file.write_text(page, encoding="utf-8")
    write_artifact(folder / "monitoring.json", report)


def _summary(report: MonitoringReport) -> str:
    labelled = "" if report.labelled_rows is None else f", {report.labelled_rows:,} with labels"
    return (
        f"{report.pipeline} version {report.version}: {report.alerts} alerts, {report.warnings} warnings in "
        f"{report.rows:,} predictions{labelled}"
    )


def _show(report: MonitoringReport, folder: Path, *, as_json: bool) -> None:
    """Print a line for each alert, warning and metric; what is within its limit is in the report."""
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
        return
    for one in report.findings:
        if one.level in _ROW_LEVELS or one.kind == "metrics":
            typer.echo(f"{one.level:5}  {printable(one.sentence)}")
    typer.echo(f"{_summary(report)}; {folder / 'monitoring.html'}")


def _alert(report: MonitoringReport) -> str:
    alerts = [one.sentence for one in report.findings if one.level == "alert"]
    more = f"; and {len(alerts) - _SHOWN_ALERTS} more" if len(alerts) > _SHOWN_ALERTS else ""
    first = "; ".join(map(printable, alerts[:_SHOWN_ALERTS]))
    return f"{report.pipeline} version {report.version}, beyond its limits: {first}{more}"
