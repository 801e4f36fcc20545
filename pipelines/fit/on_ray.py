"""A training of `headrace.fit` by workers of Ray, on this machine or a cluster."""

import os
from collections.abc import Mapping
from pathlib import Path

from headrace.components.files.atomic import replace_folder
from headrace.components.files.digests import file_digest
from headrace.pipelines.fit.given_splits import GivenSplit, write_splits
from headrace.pipelines.fit.record import FitRecord
from headrace.pipelines.fit.run import begin_run, publish_results
from headrace.pipelines.object_store.objects import open_storage
from headrace.pipelines.object_store.published import publish
from headrace.pipelines.ray_cluster.connect import is_remote
from headrace.pipelines.ray_train.attempt import attempt
from headrace.pipelines.ray_train.fit_job import FitJob
from headrace.pipelines.ray_train.fit_worker import fit_on_worker
from headrace.pipelines.remote_training.handoff import STORAGE_VARIABLE, fetch_earlier, storage_address
from headrace.pipelines.remote_training.provenance import identity_digest
from headrace.pipelines.tracking.training_run import record_file, truthful_status


def train_on_ray(
    home: Path, folder: Path, job: FitJob, record: FitRecord, splits: Mapping[str, GivenSplit], *, experiment: str
) -> FitRecord:
    """Train, or continue to, and write the results into the folder; `home` is where MLflow's store is."""
    with replace_folder(job.data) as data:
        write_splits(splits, data, plan=job.train)
    if is_remote() and os.environ.get(STORAGE_VARIABLE):
        job = _with_storage(job, storage_address(home))
    fetch_earlier(job, record_file(home, job.run_name))
    run = begin_run(home, job, record, experiment=experiment)
    with truthful_status(run):
        groups = attempt(job, run, on_worker=fit_on_worker)
        return publish_results(home, folder, job, record, run, groups)


def _with_storage(job: FitJob, address: str) -> FitJob:
    """The job with its examples in the storage, for nodes that share no folder."""
    files = sorted(file for file in job.data.rglob("*") if file.is_file())
    digest = identity_digest({file.relative_to(job.data).as_posix(): file_digest(file) for file in files})
    inputs = f"inputs/fit-{digest[:16]}"
    publish({"": job.data}, storage=open_storage(address), key=inputs)
    return job.model_copy(update={"storage": address, "inputs": inputs})
