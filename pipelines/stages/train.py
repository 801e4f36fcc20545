"""Train on Ray with multi-worker TensorFlow; publish the model, its checkpoint and where they come from."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import structlog

import components
from components.errors import ServiceError
from pipelines.cluster.connect import ray_session
from pipelines.cluster.fit import fit
from pipelines.cluster.job import TrainJob
from pipelines.cluster.progress import follow
from pipelines.cluster.results import destinations
from pipelines.params import Pipeline
from pipelines.paths import PipelinePaths, ProjectPaths
from pipelines.storage.atomic import replace_file, replace_folder
from pipelines.tracking.epochs import EpochLog
from pipelines.tracking.runs import Status, close_run, continue_run, open_run

log = structlog.get_logger()


def train(pipeline: Pipeline, paths: PipelinePaths) -> None:
    """Write the model, checkpoint, TensorBoard logs, history and run.json of one training."""
    signal.signal(signal.SIGTERM, _stop)
    digest = json.loads(paths.manifest.read_text(encoding="utf-8"))["digest"]
    run_name = f"{pipeline.name}-{_content_digest(pipeline, paths, digest)[:12]}"
    origin = {
        "pipeline": pipeline.name,
        "run_name": run_name,
        "mlflow_experiment": f"headrace/{pipeline.name}",
        "ray_job_id": os.environ.get("RAY_JOB_ID", "embedded"),
        "data_digest": digest,
        "git_commit": _git_commit(paths.root),
        "num_workers": pipeline.train.num_workers,
    }
    job = TrainJob(
        run_name=run_name,
        folder=ProjectPaths(paths.root).ray_storage / run_name,
        splits=paths.splits,
        statistics=paths.statistics,
        train=pipeline.train,
    )
    job.folder.mkdir(parents=True, exist_ok=True)
    run_id, logged_epochs = _run(job, paths.root, origin)
    with _truthful_status(paths.root, run_id):
        _train(job, EpochLog(paths.root, run_id, epochs=pipeline.train.epochs, logged_epochs=logged_epochs))
        published = _publish(job, paths, {**origin, "mlflow_run_id": run_id})
    log.info(
        "trained",
        pipeline=pipeline.name,
        epochs=published["epochs"],
        best_epoch=published["best_epoch"],
        model=str(paths.model.relative_to(paths.root)),
    )


def _run(job: TrainJob, root: Path, origin: Mapping[str, Any]) -> tuple[str, int]:
    """The MLflow run of this very training and how many epochs it has: the one an earlier try left, or a new one."""
    note = job.folder / "mlflow_run_id"
    if note.is_file():
        run_id = note.read_text(encoding="utf-8")
        logged_epochs = continue_run(root, run_id)
        if logged_epochs is not None:
            log.info("an earlier try of the same training goes on", run_name=job.run_name, logged_epochs=logged_epochs)
            return run_id, logged_epochs
    run_id = open_run(
        root,
        experiment=str(origin["mlflow_experiment"]),
        run_name=job.run_name,
        tags={f"headrace.{name}": str(value) for name, value in origin.items()},
        params=job.train.model_dump(mode="json"),
    )
    with replace_file(note) as file:
        file.write_text(run_id, encoding="utf-8")
    return run_id, 0


def _train(job: TrainJob, epoch_log: EpochLog) -> None:
    """Run the job, or only pick up its results where an earlier try ended between training and publishing."""
    job.failure.unlink(missing_ok=True)
    if job.results.is_dir():
        follow(job.progress, 0, epoch_log.add)
    else:
        shutil.rmtree(job.folder / "ray", ignore_errors=True)  # Ray's own notes; the checkpoints are beside them
        with ray_session(num_workers=job.train.num_workers):
            signal.signal(signal.SIGTERM, _stop)  # again, because Ray has put its own in place
            fit(job, on_epoch=epoch_log.add)
    epoch_log.send_rest()


def _publish(job: TrainJob, paths: PipelinePaths, origin: dict[str, Any]) -> dict[str, Any]:
    """Copy the results into the artifact tree, run.json last, and return what it says."""
    for source, destination in destinations(job.results, paths).items():
        if source.is_dir():
            with replace_folder(destination) as folder:
                shutil.copytree(source, folder, dirs_exist_ok=True)
        else:
            with replace_file(destination) as file:
                shutil.copyfile(source, file)
    state = json.loads((paths.checkpoint / "state.json").read_text(encoding="utf-8"))
    run = {**origin, "epochs": state["epoch"], "best_epoch": state["best_epoch"]}
    with replace_file(paths.run) as file:
        file.write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(job.folder)
    return run


@contextmanager
def _truthful_status(root: Path, run_id: str) -> Iterator[None]:
    """Close the MLflow run as FINISHED, FAILED or KILLED by how the block ends."""
    try:
        yield
    except KeyboardInterrupt:
        _close(root, run_id, status="KILLED", reason="interrupted")
        raise
    except BaseException as error:
        _close(root, run_id, status="FAILED", reason=f"{type(error).__name__}: {error}"[:500])
        raise
    _close(root, run_id, status="FINISHED", reason=None)


def _close(root: Path, run_id: str, *, status: Status, reason: str | None) -> None:
    """Close the run; where MLflow is away, say so and leave the stage's own outcome as it is."""
    try:
        close_run(root, run_id, status=status, reason=reason)
    except ServiceError as error:
        log.warning("the MLflow run stays open", run=run_id, status=status, reason=str(error))


def _stop(signal_number: int, _frame: FrameType | None) -> None:
    """SIGTERM ends the stage as Ctrl-C does: workers stopped, run closed as KILLED."""
    raise KeyboardInterrupt(f"signal {signal_number}")


def _content_digest(pipeline: Pipeline, paths: PipelinePaths, data_digest: str) -> str:
    """What the weights depend on: data, transforms, the train section, and the code that trains."""
    code = Path(components.__file__).parent
    files = [file for folder in ("models", "training", "transforms") for file in sorted((code / folder).glob("*.py"))]
    content = (data_digest, paths.statistics.read_text(encoding="utf-8"), pipeline.train.model_dump_json())
    texts = (*content, *(file.read_text(encoding="utf-8") for file in files))
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _git_commit(root: Path) -> str:
    """The commit that is checked out, or "unknown" outside of git."""
    done = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "--verify", "-q", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"
