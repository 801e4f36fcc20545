"""`headrace predict --engine ray`: in tasks of a Ray here, of the one at RAY_ADDRESS, or of a job on its cluster."""

import asyncio
import hashlib
import os
import shlex
import sys
from pathlib import Path

from headrace.components.errors import EXIT_SERVICE, DataError, ParamsError, ServiceError
from headrace.pipelines.commands.inference.predict_parts import place_of, predict_parts, require_apart
from headrace.pipelines.commands.inference.predictions import require_predictions
from headrace.pipelines.object_store.objects import open_storage
from headrace.pipelines.params import Pipeline
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.ray_cluster.connect import is_remote
from headrace.pipelines.ray_jobs.job_server import cluster_from_environment
from headrace.pipelines.ray_jobs.jobs import RayJobs
from headrace.pipelines.ray_jobs.package import headrace_code, package
from headrace.pipelines.ray_jobs.submit import Submission, submit_or_join
from headrace.pipelines.ray_jobs.watch import Outcome, watch
from headrace.pipelines.remote_training.handoff import owner
from headrace.pipelines.remote_training.remote_train import require_closed, shipped_environment, uses_job_server


def predict_on_ray(
    pipeline: Pipeline,
    paths: PipelinePaths,
    *,
    input_place: str,
    output_place: str | None,
    alias: str,
    submission: bool,
    keep_inputs: bool,
) -> None:
    """Predict all files of a folder or bucket, each to a part of a folder or bucket.

    Raises ParamsError, DataError and ServiceError; what was written before stays, and is not made again.
    """
    if output_place is None or Path(output_place).suffix in (".csv", ".parquet") or Path(output_place).is_file():
        raise ParamsError(
            "--engine ray writes a part for each input: expected --output FOLDER or s3://BUCKET/PREFIX, found "
            f"{output_place or 'none'}"
        )
    if submission and keep_inputs:
        raise ParamsError("--keep-inputs is for monitoring: leave --submission out")
    read, written = place_of(input_place), place_of(output_place)
    if not read.startswith("s3://") and not Path(read).is_dir():
        raise ParamsError(f"--input {input_place}: --engine ray takes a folder or s3://BUCKET/PREFIX, of files")
    require_apart(read, written)
    require_predictions(pipeline)
    if uses_job_server():
        options = [name for name, is_set in (("--submission", submission), ("--keep-inputs", keep_inputs)) if is_set]
        _predict_as_job(pipeline, paths, read, written, alias=alias, options=options)
        return
    from headrace.pipelines.ray_data.ray_map import ray_map  # Ray takes a second to import

    with ray_map() as map_:
        manifest = predict_parts(
            pipeline,
            paths,
            input_place=read,
            output_place=written,
            alias=alias,
            map_=map_,
            share_model=is_remote(),
            submission=submission,
            keep_inputs=keep_inputs,
        )
    _keep_in_journal(paths, read, written, version=manifest.version, rows=manifest.rows)


def _keep_in_journal(paths: PipelinePaths, read: str, written: str, *, version: int, rows: int) -> None:
    """Note which version made the parts of a folder, for `headrace lineage`, which reads no bucket."""
    from headrace.pipelines.artifacts.prediction_parts import MANIFEST
    from headrace.pipelines.tracking.prediction_journal import keep_predictions

    if not (read.startswith("s3://") or written.startswith("s3://")):
        keep_predictions(
            paths.root,
            model=paths.pipeline,
            version=version,
            input_file=Path(read),
            output_file=Path(written) / MANIFEST,
            rows=rows,
        )


def _predict_as_job(
    pipeline: Pipeline, paths: PipelinePaths, read: str, written: str, *, alias: str, options: list[str]
) -> None:
    """Run this very command as a job on the cluster, with the version that the alias names now, and follow it."""
    from headrace.pipelines.tracking.registry import require_version

    if not os.environ.get("MLFLOW_TRACKING_URI"):
        raise ParamsError(
            f"RAY_ADDRESS is a cluster ({os.environ['RAY_ADDRESS']}), and MLFLOW_TRACKING_URI is not set: expected a "
            "server that its nodes reach, because they can't read mlflow.db of this folder"
        )
    open_storage(read), open_storage(written)
    version = str(require_version(paths.root, pipeline.name, alias).number)
    command = ["headrace", "predict", pipeline.name, "--engine", "ray", "--input", read, "--output", written]
    command += ["--alias", version, *options]
    outcome = asyncio.run(_submit_and_watch(pipeline.name, paths.root, command))
    if outcome.status == "SUCCEEDED":
        return
    code = outcome.exit_code
    was_lost = code is None or code < 0 or code > 128 or code == EXIT_SERVICE
    error = ServiceError if was_lost else DataError
    raise error(f"Ray job {outcome.submission_id} {outcome.status.lower()}: {outcome.error}")


async def _submit_and_watch(name: str, root: Path, command: list[str]) -> Outcome:
    cluster = cluster_from_environment()
    digest = hashlib.sha256(shlex.join(command).encode()).hexdigest()[:12]
    async with RayJobs(cluster) as jobs:
        await require_closed(jobs)
        await jobs.require_version()
        submitted = await submit_or_join(
            jobs,
            lambda: Submission(package(root, extra=headrace_code()), shlex.join(command), shipped_environment()),
            address=cluster.address,
            run_name=f"predict-{name}-{digest}",
            owner=owner(),
            has_results=lambda: False,  # a job that has ended knows nothing of files that came later
        )
        return await watch(jobs, submitted.submission_id, on_line=_show)


def _show(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - it is the job's own log
