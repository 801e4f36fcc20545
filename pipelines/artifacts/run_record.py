"""run.json: where a model comes from, and the digests of what the training wrote."""

from datetime import datetime
from typing import Any, Literal

from headrace.components.errors import DataError
from headrace.pipelines.artifacts.artifact import Artifact, Omittable, file_digest, read_artifact
from headrace.pipelines.artifacts.split_manifest import read_manifest
from headrace.pipelines.paths import PipelinePaths


class RunFile(Artifact):
    """One training: its MLflow run, its data and code, and the model and history that came of it."""

    format_version: Literal[1] = 1
    pipeline: str
    run_name: str
    mlflow_experiment: str
    mlflow_run_id: str | None  # None where MLflow was not reached
    ray_job_id: str
    identity_digest: str  # of `identity`, which names the training
    identity: dict[str, Any]  # all that decides the weights
    data_digest: str  # of all splits
    git_commit: str
    git_dirty: bool | None  # whether files differed from that commit; None outside of git
    num_workers: int
    groups: tuple[dict[str, int], ...]  # of workers, one after the other: how many, and with how many threads
    owner: str
    started_at: datetime
    trained_at: datetime
    epochs: int
    best_epoch: int
    weights_digest: str
    model_sha256: str
    history_sha256: str
    slow_worker: Omittable[str] = None  # the last one that was named


def result_digests(paths: PipelinePaths) -> dict[str, str]:
    """Digests of what a training has written, under the names of their fields."""
    from headrace.components.serving_model.keras_file import weights_digest  # NumPy and HDF5, half a second

    return {
        "weights_digest": weights_digest(paths.model),
        "model_sha256": file_digest(paths.model),
        "history_sha256": file_digest(paths.history),
    }


def read_run(paths: PipelinePaths) -> RunFile:
    """run.json alone; raises DataError."""
    return read_artifact(paths.run, RunFile, command=f"headrace train {paths.pipeline}")


def bound_run(paths: PipelinePaths) -> RunFile:
    """run.json, with model.keras and history.csv checked to be the files it names; raises DataError if one is not."""
    run = read_run(paths)
    train, model = f"`headrace train {paths.pipeline}` trains again", paths.model.relative_to(paths.root)
    checkout = f"`dvc checkout --force {model}` restores it, {train}"
    for file, expected, fix in (
        (paths.model, run.model_sha256, checkout),
        (paths.history, run.history_sha256, train),
    ):
        if not file.is_file():
            raise DataError(f"no {file.name} at {file}; {fix}")
        if (found := file_digest(file)) != expected:
            raise DataError(
                f"{file} is not the file that {paths.run.name} names: "
                f"expected SHA-256 {expected[:12]}, found {found[:12]}; {fix}"
            )
    return run


def require_same_data(paths: PipelinePaths, run: RunFile) -> None:
    """Raise DataError where the model was trained on other splits than there are now.

    Rows that it was trained on may be among those held out now.
    """
    if run.data_digest != read_manifest(paths).digest:
        raise DataError(
            f"{paths.model.parent} was trained on other data than is in {paths.splits}; "
            f"`headrace run {paths.pipeline}` trains on this, `dvc checkout` may restore the other"
        )
