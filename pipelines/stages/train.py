"""Train on Ray with multi-worker TensorFlow; publish the model, its checkpoint and where they come from."""

import csv
import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from headrace.components.errors import DataError, TrainingError
from headrace.components.training.state import TrainingState
from headrace.pipelines.artifacts.artifact import write_artifact
from headrace.pipelines.artifacts.run_record import RunFile, bound_run, read_run, result_digests
from headrace.pipelines.fetching.pretrained import fetch_pretrained
from headrace.pipelines.host.logs import log_as
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths, ProjectPaths
from headrace.pipelines.project.code_digests import own_code
from headrace.pipelines.project.stage_inputs import require_inputs
from headrace.pipelines.project.trusted_code import remember
from headrace.pipelines.ray_train.attempt import attempt
from headrace.pipelines.ray_train.pipeline_worker import train_on_worker
from headrace.pipelines.ray_train.result_files import copy_into_place, destinations
from headrace.pipelines.ray_train.slow_workers import SLOW_WORKER
from headrace.pipelines.ray_train.training_job import TrainJob
from headrace.pipelines.remote_training.handoff import (
    Handoff,
    fetch_earlier,
    fetch_inputs,
    fetched_pretrained,
    forget_published,
    is_in_job,
    keep_record,
    make_handoff,
    publish_inputs,
    publish_run,
    read_handoff,
    submission_id,
)
from headrace.pipelines.remote_training.provenance import (
    identity_digest,
    origin_of,
    process_tags,
    source_tags,
    training_identity,
)
from headrace.pipelines.remote_training.remote_train import is_trained, train_remotely, uses_job_server
from headrace.pipelines.remote_training.run_description import run_params, trained_dataset
from headrace.pipelines.tracking.initial_model import fetch_start
from headrace.pipelines.tracking.server import check
from headrace.pipelines.tracking.training_run import TrainingRun, begin, deliver, forget, record_file, truthful_status

log = structlog.get_logger()


def train(pipeline: Pipeline, paths: PipelinePaths, *, force: bool = False) -> None:
    """Write the model, checkpoint, TensorBoard logs, history and run.json of one training.

    It trains here, on the Ray of RAY_ADDRESS or one that starts in this process. Where RAY_ADDRESS is the address of a
    job server, it trains as a job there. A training of the same identity that is here, or in the storage that the job
    server shares, is taken as it is. With `force` it is forgotten, and trained again from the first step.
    """
    check(paths.root)
    deliver(paths.root)
    received = read_handoff(paths.root)
    start = fetch_inputs(paths, received) if is_in_job() else fetch_start(pipeline, paths)
    require_inputs(paths, "train")
    pretrained = fetched_pretrained(paths, received) if received else fetch_pretrained(pipeline, paths)
    identity = training_identity(pipeline, paths, start, pretrained=pretrained)
    run_name = f"{pipeline.name}-{identity_digest(identity)[:12]}"
    if not force and (earlier := _earlier(paths, run_name)) is not None:
        log.info("trained before from the same data, settings and versions: kept", **_provenance(earlier))
        return
    handoff = received
    if received is None and (uses_job_server() or is_in_job()):
        handoff = make_handoff(paths, run_name=run_name, start_weights=start, pretrained=pretrained)
    if received is None and handoff is not None and is_in_job():
        publish_inputs(paths, handoff, start_weights=start, pretrained=pretrained)
    if handoff is not None and handoff.run_name != run_name:
        raise TrainingError(
            f"expected to train {handoff.run_name}, found {run_name} from what is here: the code that trains is not "
            "the code that submitted this; install the same version of Headrace on all nodes"
        )
    if force:
        forget(paths.root, run_name, reason="trained again with --force")
        if handoff is not None and uses_job_server():
            forget_published(run_name, handoff.storage)
    if handoff is not None and uses_job_server():
        was_trained = is_trained(handoff)
        fetched = train_remotely(pipeline, paths, handoff, start_weights=start, pretrained=pretrained)
        published = _copy_published(fetched, paths)
        if was_trained:
            log.info("fetched", **_provenance(published))
            return
    else:
        published = _train_here(
            pipeline, paths, identity=identity, run_name=run_name, start=start, pretrained=pretrained, handoff=handoff
        )
    log.info(
        "trained",
        pipeline=pipeline.name,
        epochs=published["epochs"],
        best_epoch=published["best_epoch"],
        model=str(paths.model.relative_to(paths.root)),
    )


def _provenance(run: Mapping[str, Any]) -> dict[str, str]:
    """Time, run and commit of the training whose model is taken as it is."""
    changed = " with changes that are not committed" if run.get("git_dirty") else ""
    return {
        "trained_at": str(run.get("trained_at", "unknown")),
        "by": f"{run['run_name']} of {run['owner']}",
        "from_commit": f"{run['git_commit'][:12]}{changed}",
        "to_train_again": f"headrace train {run['pipeline']} --force",
    }


def _train_here(
    pipeline: Pipeline,
    paths: PipelinePaths,
    *,
    identity: Mapping[str, Any],
    run_name: str,
    start: Path | None,
    pretrained: Path | None,
    handoff: Handoff | None,
) -> dict[str, Any]:
    """Train with this process as the driver, and return the content of run.json."""
    job = TrainJob(
        run_name=run_name,
        folder=ProjectPaths(paths.root).ray_storage / run_name,
        splits=paths.splits,
        statistics=paths.statistics,
        train=pipeline.train,
        versions=identity["versions"],
        start_weights=start,
        pretrained=pretrained,
        storage=handoff.storage if handoff else None,
        inputs=handoff.inputs if handoff else None,
        sources=own_code(paths.root, pipeline).sources,
    )
    log_as(run=run_name, job=submission_id() or os.environ.get("RAY_JOB_ID", "embedded"))
    remember(paths.root, job.sources)
    job.folder.mkdir(parents=True, exist_ok=True)
    fetch_earlier(job, record_file(paths.root, run_name))
    origin = origin_of(pipeline, paths, run_name=run_name, identity=identity, handoff=handoff)
    run = begin(
        paths.root,
        experiment=origin["mlflow_experiment"],
        run_name=run_name,
        tags={
            **{name: str(value) for name, value in {**origin, **process_tags(handoff)}.items()},
            **source_tags(pipeline, paths, handoff),
        },
        params=run_params(pipeline),
        epochs=pipeline.train.epochs,
        dataset=trained_dataset(pipeline, paths),
        on_change=partial(keep_record, job),
    )
    log_as(mlflow_run=run.run_id)
    with truthful_status(run):
        groups = attempt(job, run, on_worker=train_on_worker)
        return _publish(job, paths, {**origin, "identity": dict(identity), "groups": groups}, run)


def _earlier(paths: PipelinePaths, run_name: str) -> dict[str, Any] | None:
    """The run.json of this very training, if all its results are in place."""
    results = (paths.model, paths.checkpoint, paths.checkpoints, paths.tensorboard, paths.history, paths.run)
    if not all(path.exists() for path in results):
        return None
    try:
        run = bound_run(paths)
    except DataError as error:
        log.warning("what was trained before does not fit together, so it is trained again", reason=str(error))
        return None
    return run.model_dump(mode="json") if run.run_name == run_name else None


def _copy_published(folder: Path, paths: PipelinePaths) -> dict[str, Any]:
    """Copy a job's results into the artifact tree, run.json last, and return its content."""
    copy_into_place({**destinations(folder / "results", paths), folder / "run" / paths.run.name: paths.run})
    shutil.rmtree(folder.parent)
    return read_run(paths).model_dump(mode="json")


def _publish(job: TrainJob, paths: PipelinePaths, origin: Mapping[str, Any], run: TrainingRun) -> dict[str, Any]:
    """Copy the results into the artifact tree, run.json last, and return its content."""
    copy_into_place(destinations(job.results, paths))
    with paths.history.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):  # an epoch that could not be logged when it ended
            run.add({name: float(value) for name, value in row.items()})
    state = TrainingState.model_validate_json((paths.checkpoint / "state.json").read_text(encoding="utf-8"))
    digests = result_digests(paths)
    run.tag(digests)
    content = RunFile(
        **origin,
        **digests,
        mlflow_run_id=run.run_id,
        slow_worker=run.tags.get(SLOW_WORKER),
        epochs=state.epoch,
        best_epoch=state.best_epoch,
        trained_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_artifact(paths.run, content)
    publish_run(job, paths.run)
    shutil.rmtree(job.folder)
    return content.model_dump(mode="json")
