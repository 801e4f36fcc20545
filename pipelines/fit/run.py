"""The MLflow run of a training of `headrace.fit`, and what is published when it is done."""

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from headrace.components.files.digests import file_digest
from headrace.pipelines.artifacts.artifact import write_artifact
from headrace.pipelines.fit.record import DIGESTED, RECORD, RESULTS, STATE, FitRecord
from headrace.pipelines.ray_train.fit_job import FitJob
from headrace.pipelines.ray_train.result_files import copy_into_place
from headrace.pipelines.remote_training.handoff import keep_record
from headrace.pipelines.remote_training.provenance import process_tags
from headrace.pipelines.tracking.mlflow_runs import add_to_run
from headrace.pipelines.tracking.training_run import TrainingRun, begin, deliver


def begin_run(home: Path, job: FitJob, record: FitRecord, *, experiment: str) -> TrainingRun:
    """The run of this very training, which an earlier attempt may have begun."""
    deliver(home)
    return begin(
        home,
        experiment=experiment,
        run_name=job.run_name,
        tags={
            **process_tags(None),
            "git_commit": record.git_commit,
            "owner": record.owner,
            "model": f"{job.file}: {job.function}",
            "data_digest": record.identity["data"]["train"],
        },
        params={**job.train.model_dump(mode="json"), "arguments": job.arguments},
        epochs=job.train.epochs,
        on_change=partial(keep_record, job),
    )


def publish_results(
    home: Path, folder: Path, job: FitJob, record: FitRecord, run: TrainingRun, groups: Sequence[dict[str, int]]
) -> FitRecord:
    """Copy the results into the folder, and the model to MLflow; the record says so, then what was needed goes."""
    copy_into_place({job.results / name: folder / name for name in RESULTS})
    if run.run_id is not None:
        files = [folder / name for name in DIGESTED]
        add_to_run(home, run.run_id, metrics={}, artifacts=files, artifact_path="fit")
    record = record.model_copy(
        update={
            "mlflow_run_id": run.run_id,
            "trained_at": datetime.now(UTC),
            "groups": tuple(groups),
            "files": {name: file_digest(folder / name) for name in DIGESTED},
        }
    )
    write_artifact(folder / RECORD, record)
    shutil.rmtree(folder / STATE)
    return record
