"""Register: log the model to MLflow, register it, and make it champion if it passes and beats the present one."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import structlog

from headrace.components.errors import DataError
from headrace.components.evaluation.gate import Decision, check_metrics, decide
from headrace.components.examples.held_out import measured_examples
from headrace.components.examples.shards import scan
from headrace.components.files.atomic import replace_file
from headrace.components.numerics import NUMERICS
from headrace.components.serving_model.saved_model import load_model
from headrace.components.tasks.task import Measurement
from headrace.components.tasks.variants import task_of
from headrace.pipelines.artifacts.artifact import file_digest, text_of
from headrace.pipelines.artifacts.metrics_record import MetricsFile, bound_metrics
from headrace.pipelines.artifacts.registration import RegistrationFile
from headrace.pipelines.artifacts.run_record import RunFile, bound_run, require_same_data
from headrace.pipelines.artifacts.split_manifest import read_manifest
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.project.stage_inputs import require_inputs
from headrace.pipelines.project.trusted_code import code_of_project
from headrace.pipelines.tracking.mlflow_runs import knows_run
from headrace.pipelines.tracking.registry import (
    CHAMPION,
    Version,
    alias_version,
    create_version,
    find_version,
    log_model,
    set_champion,
    tag_version,
    version_file,
)
from headrace.pipelines.tracking.restored_run import restore_run
from headrace.pipelines.tracking.server import tracking_uri

log = structlog.get_logger()

_EXAMPLE_ROWS = 2
_NOTHING_HELD_OUT = "nothing was held out: these are metrics of the rows that the model was trained on"


def register(pipeline: Pipeline, paths: PipelinePaths) -> None:
    """Register the model and write registration.json; a model that does not pass is registered without the alias."""
    require_inputs(paths, "register")
    run = bound_run(paths)
    require_same_data(paths, run)
    measured_on, digest = pipeline.split.measured_on, _split_digest(paths, pipeline.split.measured_on)
    measured = bound_metrics(paths, run, measured_on=measured_on, data_digest=digest)
    metrics, settings = measured.metrics, pipeline.register_
    check_metrics(metrics, thresholds=settings.thresholds, compare_by=settings.compare_by)
    tags = _tags(paths, run, measured, measured_on=measured_on)
    request = hashlib.sha256(json.dumps([settings.model_dump(mode="json"), tags], sort_keys=True).encode()).hexdigest()

    version = _find(paths, tags)
    if version is not None and version.tags.get("registration_of") == request:
        _write(paths, version.tags["registration"])
        log.info("registered before: nothing changes", model=pipeline.name, version=version.number)
        return
    if version is None:
        version = _register(pipeline, paths, run, metrics, tags)
    else:
        tag_version(paths.root, pipeline.name, version.number, tags)
    decision = _decide(pipeline, paths, version, metrics, digest)
    if pipeline.split.held_out == "none":
        decision = replace(decision, reasons=(_NOTHING_HELD_OUT, *decision.reasons))
    if decision.promote:
        set_champion(paths.root, pipeline.name, version.number, why="; ".join(decision.reasons))
    text = text_of(_registration(paths, version, decision, tags, metrics))
    tag_version(paths.root, pipeline.name, version.number, {"registration": text, "registration_of": request})
    _write(paths, text)
    _show(pipeline.name, version, decision)


def _find(paths: PipelinePaths, tags: Mapping[str, str]) -> Version | None:
    """The version that this very model, of this very training, was registered as."""
    identity = {name: tags[name] for name in ("model_md5", "trained_by_run") if name in tags}
    return find_version(paths.root, paths.pipeline, tags=identity)


def _register(
    pipeline: Pipeline,
    paths: PipelinePaths,
    run: RunFile,
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
) -> Version:
    run_id = run.mlflow_run_id or ""
    if not knows_run(paths.root, run_id):
        prefix = "training_rows" if pipeline.split.held_out == "none" else "test"
        measured = {f"{prefix}_{name}": value for name, value in metrics.items()}
        run_id = restore_run(paths, run, metrics=measured, params=pipeline.train.model_dump(mode="json"))
    model_id = log_model(
        paths.root,
        pipeline.name,
        run_id=run_id,
        model_file=paths.model,
        features={name: pipeline.ingest.features[name] for name in pipeline.normalize.transforms},
        label=pipeline.ingest.label,
        example=scan(paths.examples).head(_EXAMPLE_ROWS).collect(),
        noise=pipeline.train.model.noise,
    )
    tags = {**tags, "mlflow_run_id": run_id}
    return create_version(paths.root, pipeline.name, run_id=run_id, model_id=model_id, tags=tags)


def _decide(
    pipeline: Pipeline, paths: PipelinePaths, version: Version, metrics: Mapping[str, float], digest: str
) -> Decision:
    """The gate's decision, with what was done to make the comparison a fair one."""
    settings = pipeline.register_
    gate = partial(decide, metrics, thresholds=settings.thresholds, compare_by=settings.compare_by)
    champion = alias_version(paths.root, pipeline.name, CHAMPION)
    if champion is None:
        return gate(champion=None)
    if champion.number == version.number:
        alone = gate(champion=None)
        return replace(alone, reasons=(*alone.reasons[:-1], "it is the champion already"))
    measured_on, is_judged = pipeline.split.measured_on, pipeline.evaluate.judge is not None
    is_same_data = champion.tags.get(f"{measured_on}_digest") == digest
    is_same_evaluation = champion.tags.get("evaluation_version") == str(NUMERICS["evaluate"])
    if is_same_data and is_same_evaluation and not is_judged:
        return gate(champion=_metrics_of(champion))
    note = (
        f"the champion, version {champion.number}, was tested on other data, so its metrics can't be compared: "
        f"it was evaluated again on the present {measured_on} split, where rows that it was trained on may help it"
    )
    if is_same_data:
        note = (
            f"the champion, version {champion.number}, was evaluated by another version of evaluation, "
            f"so it was evaluated again by version {NUMERICS['evaluate']}"
        )
    if is_judged:
        note = f"the champion, version {champion.number}, was judged again, by the judge of the present training rows"
    try:
        present = _reevaluated(pipeline, paths, champion)
    except DataError as error:
        alone = gate(champion=None)
        unfit = f"it can't be compared with the champion, version {champion.number}: {error}"
        by_hand = f"`headrace promote {pipeline.name} --version {version.number}` makes it champion by hand"
        return Decision(promote=False, reasons=(*alone.reasons[:-1], unfit, by_hand))
    decision = gate(champion=present)
    return replace(decision, reasons=(note, *decision.reasons))


def _reevaluated(pipeline: Pipeline, paths: PipelinePaths, champion: Version) -> dict[str, float]:
    """The champion's metrics on the present data; DataError where it can't be compared."""
    examples, split = scan(paths.examples), pipeline.split
    measurement = Measurement(
        model=load_model(version_file(paths.root, pipeline.name, champion), may_run=code_of_project(paths.root)),
        rows=measured_examples(examples, scan(paths.splits / split.measured_on), split=split),
        features=pipeline.ingest.features,
        examples=examples,
        rows_of_split=lambda name: scan(paths.splits / name),
        split=split,
        judge=pipeline.evaluate.judge,
    )
    return task_of(pipeline.ingest.label).metrics(measurement)


def _split_digest(paths: PipelinePaths, name: str) -> str:
    return read_manifest(paths).splits[name].digest


def _tags(paths: PipelinePaths, run: RunFile, measured: MetricsFile, *, measured_on: str) -> dict[str, str]:
    """Tags of a version, with the digests of all that it was made from."""
    origin = {
        "weights_digest": run.weights_digest,
        "model_sha256": run.model_sha256,
        "model_md5": file_digest(paths.model, "md5"),  # by which DVC knows the file
        "metrics_sha256": file_digest(paths.metrics),
        "identity_digest": run.identity_digest,
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
    return {name: str(value) for name, value in (origin | numbers).items() if value}


def _metrics_of(version: Version) -> dict[str, float]:
    prefix = "metric."
    return {name.removeprefix(prefix): float(text) for name, text in version.tags.items() if name.startswith(prefix)}


def _registration(
    paths: PipelinePaths, version: Version, decision: Decision, tags: Mapping[str, str], metrics: Mapping[str, float]
) -> RegistrationFile:
    holder = alias_version(paths.root, paths.pipeline, CHAMPION)
    is_champion = holder is not None and holder.number == version.number
    return RegistrationFile(
        model=paths.pipeline,
        version=version.number,
        alias=CHAMPION if is_champion else None,
        decision="promoted" if decision.promote else "not promoted",
        reasons=decision.reasons,
        metrics=dict(metrics),
        mlflow_run_id=version.run_id,
        weights_digest=tags["weights_digest"],
        model_sha256=tags["model_sha256"],
        model_md5=tags["model_md5"],
        metrics_sha256=tags["metrics_sha256"],
        evaluation_version=int(tags["evaluation_version"]),
        test_digest=tags.get("test_digest"),
        train_digest=tags.get("train_digest"),
        measured_on=tags.get("measured_on"),
        tracking_uri_kind=tracking_uri(paths.root).partition(":")[0],
    )


def _show(name: str, version: Version, decision: Decision) -> None:
    if decision.promote:
        log.info("registered as champion", model=name, version=version.number, reasons="; ".join(decision.reasons))
    else:
        log.warning("registered, not champion", model=name, version=version.number, reasons="; ".join(decision.reasons))


def _write(paths: PipelinePaths, text: str) -> None:
    with replace_file(paths.registration) as file:
        file.write_text(text, encoding="utf-8")
