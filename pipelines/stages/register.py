"""Register: log the model to MLflow, register it, and make it champion if it passes and beats the present one."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import replace

import polars as pl
import structlog

from headrace.components.errors import DataError
from headrace.components.evaluation.gate import (
    PLACE,
    Check,
    Decision,
    Rivals,
    affordable,
    beats,
    better,
    check_metrics,
    decision_of,
    guarded,
    no_rival,
    parts_of_slice,
    within,
)
from headrace.components.evaluation.paired import difference
from headrace.components.evaluation.report_parts.decision import ComparedMetric, DecisionPart, with_decision
from headrace.components.evaluation.report_parts.subject import CONFIDENCE
from headrace.components.evaluation.settings import Register
from headrace.components.examples.held_out import measured_examples
from headrace.components.examples.identity import ids_digest
from headrace.components.examples.shards import scan
from headrace.components.files.atomic import replace_file
from headrace.components.serving_model.saved_model import load_model
from headrace.components.tasks.row_metrics import value_of
from headrace.components.tasks.task import Task
from headrace.components.tasks.variants import task_of
from headrace.pipelines.artifacts.artifact import file_digest, text_of
from headrace.pipelines.artifacts.dvc_view import write_dvc_view
from headrace.pipelines.artifacts.metrics_record import MetricsFile, bound_metrics, named_with_intervals
from headrace.pipelines.artifacts.outcomes_table import bound_outcomes
from headrace.pipelines.artifacts.registration import AgainstChampion, MetricAgainstChampion, RegistrationFile
from headrace.pipelines.artifacts.run_record import RunFile, bound_run, require_same_data
from headrace.pipelines.artifacts.split_manifest import read_manifest
from headrace.pipelines.compatibility.tensorflow_import import import_tensorflow
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.project.stage_inputs import require_inputs
from headrace.pipelines.project.trusted_code import code_of_project
from headrace.pipelines.remote_training.run_description import run_params, trained_dataset
from headrace.pipelines.tracking.champion import Champion, measured_champion
from headrace.pipelines.tracking.mlflow_runs import add_to_run, knows_run
from headrace.pipelines.tracking.monitoring_reference import reference_content, training_reference
from headrace.pipelines.tracking.registry import (
    CHAMPION,
    Version,
    alias_version,
    create_version,
    demote_champion,
    find_version,
    log_model,
    set_champion,
    tag_version,
    versions,
)
from headrace.pipelines.tracking.restored_run import restore_run
from headrace.pipelines.tracking.server import tracking_uri

log = structlog.get_logger()

_EXAMPLE_ROWS = 2
_MOST_SLICES = 50  # that a tag of the version has room for
_NOTHING_HELD_OUT = "nothing was held out: these are metrics of the rows that the model was trained on"


def register(pipeline: Pipeline, paths: PipelinePaths) -> None:
    """Register the model; write registration.json, and decision.html, the report with the decision in front.

    A model that does not pass is registered without the alias.
    """
    require_inputs(paths, "register")
    run = bound_run(paths)
    require_same_data(paths, run)
    measured_on, digest = pipeline.split.measured_on, read_manifest(paths).splits[pipeline.split.measured_on].digest
    measured = bound_metrics(paths, run, measured_on=measured_on, data_digest=digest)
    outcomes = bound_outcomes(paths, measured)
    settings = pipeline.register_
    check_metrics(measured.metrics, settings)
    trained_on = _trained_on(paths)
    tags = _tags(paths, run, measured, measured_on=measured_on) | {"training_ids_digest": ids_digest(trained_on)}
    request = hashlib.sha256(json.dumps([settings.model_dump(mode="json"), tags], sort_keys=True).encode()).hexdigest()

    version = _find(paths, tags)
    if version is not None and version.tags.get("registration_of") == request:
        _write(paths, version.tags["registration"], metric=settings.compare.metric)
        log.info("registered before: nothing changes", model=pipeline.name, version=version.number)
        return
    if version is None:
        version = _register(pipeline, paths, run, measured, tags, trained_on, outcomes)
    else:
        tag_version(paths.root, pipeline.name, version.number, tags)
    decision, against = _decide(pipeline, paths, version, measured, outcomes)
    number, warning = _count_decision(pipeline, paths, version, measured.ids_digest)
    if warning:
        log.warning(warning, model=pipeline.name)
        decision = replace(decision, reasons=(*decision.reasons, warning))
    if pipeline.split.held_out == "none":
        decision = replace(decision, reasons=(_NOTHING_HELD_OUT, *decision.reasons))
    if decision.promote:
        set_champion(paths.root, pipeline.name, version.number, why="; ".join(decision.reasons))
    elif decision.demote:
        demote_champion(paths.root, pipeline.name, why=decision.demote)
    text = text_of(_registration(paths, version, decision, tags, measured, number, against))
    tag_version(paths.root, pipeline.name, version.number, {"registration": text, "registration_of": request})
    _write(paths, text, metric=settings.compare.metric)
    add_to_run(paths.root, version.run_id, metrics={}, artifacts=[paths.decision], artifact_path="evaluation")
    _show(pipeline.name, version, decision)


def _find(paths: PipelinePaths, tags: Mapping[str, str]) -> Version | None:
    """The version that this very model, of this very training, was registered as."""
    identity = {name: tags[name] for name in ("model_md5", "trained_by_run") if name in tags}
    return find_version(paths.root, paths.pipeline, tags=identity)


def _register(
    pipeline: Pipeline,
    paths: PipelinePaths,
    run: RunFile,
    measured: MetricsFile,
    tags: Mapping[str, str],
    trained_on: pl.Series,
    outcomes: pl.DataFrame,
) -> Version:
    run_id = run.mlflow_run_id or ""
    if not knows_run(paths.root, run_id):
        prefix = "training_rows" if pipeline.split.held_out == "none" else "test"
        metrics = named_with_intervals(prefix, measured.metrics, measured.intervals)
        run_id = restore_run(
            paths, run, metrics=metrics, params=run_params(pipeline), dataset=trained_dataset(pipeline, paths)
        )
    reference = _reference(pipeline, paths, outcomes)
    model_id = log_model(
        paths.root,
        pipeline.name,
        run_id=run_id,
        model_file=paths.model,
        features={name: pipeline.ingest.features[name] for name in pipeline.normalize.transforms},
        label=pipeline.ingest.label,
        example=scan(paths.examples).head(_EXAMPLE_ROWS).collect(),
        trained_on=trained_on,
        reference=reference,
        noise=pipeline.train.model.noise,
    )
    tags = {**tags, "mlflow_run_id": run_id}
    if reference is not None:
        tags["reference_sha256"] = hashlib.sha256(reference).hexdigest()
    return create_version(paths.root, pipeline.name, run_id=run_id, model_id=model_id, tags=tags)


def _reference(pipeline: Pipeline, paths: PipelinePaths, outcomes: pl.DataFrame) -> bytes | None:
    """What monitoring will compare the version with; None of a generator, which predicts nothing."""
    if task_of(pipeline.ingest.label).generates == "images":
        return None
    return reference_content(pipeline.name, training_reference(pipeline, paths, outcomes))


def _decide(
    pipeline: Pipeline, paths: PipelinePaths, version: Version, measured: MetricsFile, outcomes: pl.DataFrame
) -> tuple[Decision, AgainstChampion | None]:
    """The gate's decision on the candidate, and on a champion that no longer meets the thresholds; the comparison."""
    settings, task = pipeline.register_, task_of(pipeline.ingest.label)
    value = measured.metrics[settings.compare.metric]
    alone = [*within(measured.metrics, settings.thresholds), *_costs(pipeline, paths)]
    champion = alias_version(paths.root, pipeline.name, CHAMPION)
    if champion is None:
        checks = [*alone, *guarded(settings, outcomes, task, None), no_rival(settings.compare.metric, value)]
        return decision_of(checks), None
    if champion.number == version.number:
        why, is_demoted = _failing(settings, champion, measured.metrics)
        decision = decision_of([*alone, *guarded(settings, outcomes, task, None)])
        reasons = (*decision.reasons, why or "it is the champion already")
        return replace(decision, reasons=reasons, demote=why if is_demoted else ""), None
    try:
        rival = _champion(pipeline, paths, champion)
    except DataError as error:
        unfit = f"it can't be compared with the champion, version {champion.number}: {error}"
        by_hand = f"`headrace promote {pipeline.name} --version {version.number}` makes it champion by hand"
        return Decision(promote=False, reasons=(*(check.reason for check in alone), unfit, by_hand)), None
    why, is_demoted = _failing(settings, champion, rival.metrics)
    if is_demoted:
        checks = [*alone, *guarded(settings, outcomes, task, None), no_rival(settings.compare.metric, value)]
    else:
        checks = [*alone, *_against(pipeline, rival, value, outcomes)]
    decision = decision_of(checks)
    notes = filter(None, (rival.note, why))
    decision = replace(decision, reasons=(*notes, *decision.reasons), demote=why if is_demoted else "")
    return decision, _compared(pipeline, champion, rival, outcomes)


def _costs(pipeline: Pipeline, paths: PipelinePaths) -> list[Check]:
    """Size and speed of the model, as far as they have a budget."""
    budget, latency = pipeline.register_.budget, None
    if budget.latency_ms is not None:
        from headrace.components.serving_model.latency import median_latency_ms

        import_tensorflow()
        names = tuple(pipeline.normalize.transforms)
        model = load_model(paths.model, may_run=code_of_project(paths.root))
        rows = measured_rows(pipeline, paths)
        latency = median_latency_ms(model, rows, features={name: pipeline.ingest.features[name] for name in names})
    return affordable(budget, model_bytes=paths.model.stat().st_size, latency_ms=latency)


def _champion(pipeline: Pipeline, paths: PipelinePaths, champion: Version) -> Champion:
    """The champion on the rows that count for it; where nothing is held out, none does."""
    if pipeline.split.held_out == "none":
        nothing = pl.Series([], dtype=pl.Boolean)
        return Champion(champion.metrics, nothing, None, "")
    return measured_champion(pipeline, paths, champion)


def _against(pipeline: Pipeline, rival: Champion, value: float, outcomes: pl.DataFrame) -> list[Check]:
    """Comparison and guards against the champion."""
    settings, task = pipeline.register_, task_of(pipeline.ingest.label)
    compare = settings.compare
    if rival.outcomes is None:
        if pipeline.split.held_out == "none":
            return [*guarded(settings, outcomes, task, None), better(compare, None)]
        note = Check(True, "the champion was judged again, by the judge of the present training rows")
        return [note, beats(compare.metric, value, rival.metrics.get(compare.metric, math.nan))]
    ours = outcomes.filter(rival.counts)
    if not ours["example_id"].equals(rival.outcomes["example_id"]):
        raise DataError(
            f"outcomes are of other rows than the test split; run `headrace evaluate {pipeline.name}` again"
        )
    rivals = Rivals(task, ours, rival.outcomes)
    found = difference(task, ours, rival.outcomes, compare.metric, confidence=compare.confidence)
    return [better(compare, found), *guarded(settings, outcomes, task, rivals)]


def _compared(pipeline: Pipeline, champion: Version, rival: Champion, outcomes: pl.DataFrame) -> AgainstChampion | None:
    """The report's foremost metrics, and slices, beside the champion's; None where there are no rows to compare by."""
    if rival.outcomes is None or not rival.outcomes.height:
        return None
    task, metric, theirs = task_of(pipeline.ingest.label), pipeline.register_.compare.metric, rival.outcomes
    ours = outcomes.filter(rival.counts)
    if not ours["example_id"].equals(theirs["example_id"]):
        return None
    compared = {name: _against_in(task, ours, theirs, name) for name in dict.fromkeys([metric, *task.headline])}
    slices = {
        name: _against_in(task, rows, theirs[rows[PLACE].to_list()], metric)
        for one in pipeline.register_.slices
        for name, rows in parts_of_slice(one, ours)
        if rows.height >= one.minimum_rows
    }
    return AgainstChampion(
        version=champion.number,
        rows=ours.height,
        metrics={name: one for name, one in compared.items() if one},
        slices={name: one for name, one in list(slices.items())[:_MOST_SLICES] if one},
    )


def _against_in(task: Task, ours: pl.DataFrame, theirs: pl.DataFrame, metric: str) -> MetricAgainstChampion | None:
    """A metric of the champion on some rows, and how much the model's differs; None where it has no interval."""
    found = difference(task, ours, theirs, metric, confidence=CONFIDENCE, draws=2_000)
    if found is None:
        return None
    value = value_of(task.row_metrics(theirs)[metric](), theirs.height)
    return MetricAgainstChampion(
        champion=value, difference=found.value, low=found.interval.low, high=found.interval.high
    )


def _failing(settings: Register, champion: Version, metrics: Mapping[str, float]) -> tuple[str, bool]:
    """Which thresholds the champion fails, "" for none, and whether it is demoted for it."""
    known = {name: bounds for name, bounds in settings.thresholds.items() if name in metrics}
    failed = [check.reason for check in within(metrics, known) if not check.passed]
    if not failed:
        return "", False
    why = f"the champion, version {champion.number}, fails: {'; '.join(failed)}"
    if settings.failing_champion == "warn":
        return f"{why}; it stays (failing_champion: warn)", False
    return f"{why}; it is champion no longer (failing_champion: demote)", True


def _count_decision(pipeline: Pipeline, paths: PipelinePaths, version: Version, digest: str) -> tuple[int, str]:
    """The number of versions that this test set decided on, with this one, and a warning above the limit.

    A version counts once: to decide on it again, after a crash or by other settings, shows no other model to the set.
    """
    tag, limit = f"decisions.{digest[:16]}", pipeline.register_.decisions_per_test_set
    decided = {one.number for one in versions(paths.root, pipeline.name) if tag in one.tags}
    tag_version(paths.root, pipeline.name, version.number, {tag: "1"})
    number = len(decided | {version.number})
    if number <= limit or pipeline.split.held_out == "none":
        return number, ""
    return number, (
        f"decision {number} on this test set, above the limit of {limit}: what was chosen by it is flattered by it; "
        "raise split.test_generation, or test on new rows"
    )


def _trained_on(paths: PipelinePaths) -> pl.Series:
    """Ids of all rows that the training saw: it chose the best epoch by the validation rows."""
    folders = [folder for name in ("train", "validation") if (folder := paths.splits / name).is_dir()]
    return scan(*folders).select("example_id").unique().collect()["example_id"].sort()


def measured_rows(pipeline: Pipeline, paths: PipelinePaths) -> pl.DataFrame:
    """The raw rows that the model was measured on."""
    rows = scan(paths.splits / pipeline.split.measured_on)
    return measured_examples(scan(paths.examples), rows, split=pipeline.split)


def _tags(paths: PipelinePaths, run: RunFile, measured: MetricsFile, *, measured_on: str) -> dict[str, str]:
    """Tags of a version, with the digests of all that it was made from."""
    origin = {
        "weights_digest": run.weights_digest,
        "model_sha256": run.model_sha256,
        "model_md5": file_digest(paths.model, "md5"),  # by which DVC knows the file
        "metrics_sha256": file_digest(paths.metrics),
        "identity_digest": run.identity_digest,
        "outcomes_sha256": measured.outcomes_sha256,
        "ids_digest": measured.ids_digest,
        "evaluation_version": measured.evaluation_version,
        "trained_by_run": run.mlflow_run_id,
        "run_name": run.run_name,
        "ray_job_id": run.ray_job_id,
        "git_commit": run.git_commit,
        "git_dirty": run.git_dirty,
        "data_digest": run.data_digest,
        f"{measured_on}_digest": measured.data_digest,
    }
    if measured_on == "train":
        origin["measured_on"] = _NOTHING_HELD_OUT
    numbers = {f"metric.{name}": repr(value) for name, value in measured.metrics.items()}
    sure = {f"interval.{name}": f"{low!r} {high!r}" for name, (low, high) in measured.intervals.items()}
    return {name: str(value) for name, value in (origin | numbers | sure).items() if value}


def _registration(
    paths: PipelinePaths,
    version: Version,
    decision: Decision,
    tags: Mapping[str, str],
    measured: MetricsFile,
    number: int,
    against: AgainstChampion | None,
) -> RegistrationFile:
    holder = alias_version(paths.root, paths.pipeline, CHAMPION)
    is_champion = holder is not None and holder.number == version.number
    return RegistrationFile(
        model=paths.pipeline,
        version=version.number,
        alias=CHAMPION if is_champion else None,
        decision="promoted" if decision.promote else "not promoted",
        reasons=decision.reasons,
        metrics=dict(measured.metrics),
        intervals=measured.intervals,
        mlflow_run_id=version.run_id,
        weights_digest=tags["weights_digest"],
        model_sha256=tags["model_sha256"],
        model_md5=tags["model_md5"],
        metrics_sha256=tags["metrics_sha256"],
        outcomes_sha256=tags["outcomes_sha256"],
        ids_digest=tags["ids_digest"],
        decisions_on_these_rows=number,
        evaluation_version=int(tags["evaluation_version"]),
        test_digest=tags.get("test_digest"),
        train_digest=tags.get("train_digest"),
        measured_on=tags.get("measured_on"),
        tracking_uri_kind=tracking_uri(paths.root).partition(":")[0],
        against=against,
    )


def _show(name: str, version: Version, decision: Decision) -> None:
    if decision.promote:
        log.info("registered as champion", model=name, version=version.number, reasons="; ".join(decision.reasons))
    else:
        log.warning("registered, not champion", model=name, version=version.number, reasons="; ".join(decision.reasons))


def _write(paths: PipelinePaths, text: str, *, metric: str) -> None:
    with replace_file(paths.decision) as file:
        page = with_decision(paths.report.read_text(encoding="utf-8"), _decision_part(text, metric=metric))
        file.write_text(page, encoding="utf-8")
    with replace_file(paths.registration) as file:
        file.write_text(text, encoding="utf-8")
    write_dvc_view(paths)


def _decision_part(text: str, *, metric: str) -> DecisionPart:
    """What registration.json says, for the page; slices are compared by `metric`."""
    found = RegistrationFile.model_validate_json(text)
    against = found.against
    return DecisionPart(
        version=found.version,
        is_champion=found.alias is not None,
        reasons=found.reasons,
        champion=against.version if against else None,
        rows=against.rows if against else 0,
        metrics=[_row(name, name, one) for name, one in (against.metrics if against else {}).items()],
        slices=[_row(name, metric, one) for name, one in (against.slices if against else {}).items()],
    )


def _row(name: str, metric: str, one: MetricAgainstChampion) -> ComparedMetric:
    challenger = one.champion + one.difference
    return ComparedMetric(name, metric, challenger, one.champion, one.difference, one.low, one.high)
