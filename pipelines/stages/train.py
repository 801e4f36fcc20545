"""Train on Ray with multi-worker TensorFlow; publish the model, its checkpoint and where they come from."""

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import structlog

import components
from pipelines.cluster.connect import ray_session
from pipelines.cluster.fit import fit
from pipelines.cluster.job import TrainJob
from pipelines.cluster.results import destinations
from pipelines.params import Pipeline
from pipelines.paths import PipelinePaths, ProjectPaths
from pipelines.storage.atomic import replace_file, replace_folder
from pipelines.tracking.start import fetch_start
from pipelines.tracking.training_run import TrainingRun, begin, deliver

# Settings of a training that don't change its weights (by more than rounding): it goes on, or is known again, when
# these are changed.
WITHOUT_EFFECT = ("num_workers", "use_gpu", "max_failures", "start_timeout_seconds", "checkpoints")

log = structlog.get_logger()


def train(pipeline: Pipeline, paths: PipelinePaths) -> None:
    """Write the model, checkpoint, TensorBoard logs, history and run.json of one training."""
    signal.signal(signal.SIGTERM, _stop)
    deliver(paths.root)
    digest = json.loads(paths.manifest.read_text(encoding="utf-8"))["digest"]
    start = fetch_start(pipeline, paths)
    run_name = f"{pipeline.name}-{_content_digest(pipeline, paths, digest, start)[:12]}"
    if (earlier := _earlier(paths, run_name)) is not None:
        log.info("the same data, settings and code were trained before: kept as it is", **earlier)
        return
    origin = _origin(pipeline, paths, run_name, digest)
    job = TrainJob(
        run_name=run_name,
        folder=ProjectPaths(paths.root).ray_storage / run_name,
        splits=paths.splits,
        statistics=paths.statistics,
        train=pipeline.train,
        start_weights=start,
    )
    job.folder.mkdir(parents=True, exist_ok=True)
    run = begin(
        paths.root,
        experiment=str(origin["mlflow_experiment"]),
        run_name=run_name,
        tags={name: str(value) for name, value in origin.items()},
        params=pipeline.train.model_dump(mode="json"),
        epochs=pipeline.train.epochs,
    )
    with _truthful_status(run):
        _train(job, run)
        published = _publish(job, paths, origin, run)
    log.info(
        "trained",
        pipeline=pipeline.name,
        epochs=published["epochs"],
        best_epoch=published["best_epoch"],
        model=str(paths.model.relative_to(paths.root)),
    )


def _origin(pipeline: Pipeline, paths: PipelinePaths, run_name: str, data_digest: str) -> dict[str, Any]:
    return {
        "pipeline": pipeline.name,
        "run_name": run_name,
        "mlflow_experiment": f"headrace/{pipeline.name}",
        "ray_job_id": os.environ.get("RAY_JOB_ID", "embedded"),
        "data_digest": data_digest,
        "git_commit": _git_commit(paths.root),
        "num_workers": pipeline.train.max_workers,
    }


def _earlier(paths: PipelinePaths, run_name: str) -> dict[str, Any] | None:
    """What there is of this very training if all its results are in place, to be named in the log."""
    results = (paths.model, paths.checkpoint, paths.tensorboard, paths.history, paths.run)
    if not all(path.exists() for path in results):
        return None
    run = json.loads(paths.run.read_text(encoding="utf-8"))
    if run["run_name"] != run_name:
        return None
    return {"run_name": run_name, "epochs": run["epochs"], "to_train_again": f"remove {paths.model.parent.name}"}


def _train(job: TrainJob, run: TrainingRun) -> None:
    """Run the job, or only pick up its results where an earlier try ended between training and publishing."""
    job.failure.unlink(missing_ok=True)
    if job.results.is_dir():
        return
    shutil.rmtree(job.folder / "ray", ignore_errors=True)  # Ray's own notes; the checkpoints are beside them
    with ray_session(num_workers=job.train.max_workers, use_gpu=job.train.use_gpu):
        signal.signal(signal.SIGTERM, _stop)  # again, because Ray has put its own in place
        fit(job, on_event=partial(_on_event, run=run))


def _on_event(event: dict[str, Any], *, run: TrainingRun) -> None:
    match event.pop("kind", None):
        case "epoch":
            run.add(event)
        case "group":
            log.info("a group of workers begins or goes on", **event)
        case "progress":
            log.info(f"epoch {event['epoch']:.0f}", **_how_far(event))
        case "note":
            log.warning(event["note"])


def _how_far(event: dict[str, Any]) -> dict[str, str]:
    """Rate, and what is left of the epoch."""
    return {
        "step": f"{event['step']}/{event['steps']}",
        "examples_per_second": f"{event['examples_per_second']:,.0f}",
        "epoch_done_in": str(timedelta(seconds=round(event["seconds_left_in_epoch"]))),
        "all_done_in": str(timedelta(seconds=round(event["seconds_left"]))),
    }


def _publish(job: TrainJob, paths: PipelinePaths, origin: dict[str, Any], run: TrainingRun) -> dict[str, Any]:
    """Copy the results into the artifact tree, run.json last, and return what it says."""
    for source, destination in destinations(job.results, paths).items():
        if source.is_dir():
            with replace_folder(destination) as folder:
                shutil.copytree(source, folder, dirs_exist_ok=True)
        else:
            with replace_file(destination) as file:
                shutil.copyfile(source, file)
    with paths.history.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):  # an epoch that could not be told when it ended
            run.add({name: float(value) for name, value in row.items()})
    state = json.loads((paths.checkpoint / "state.json").read_text(encoding="utf-8"))
    content = {**origin, "mlflow_run_id": run.run_id, "epochs": state["epoch"], "best_epoch": state["best_epoch"]}
    with replace_file(paths.run) as file:
        file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(job.folder)
    return content


@contextmanager
def _truthful_status(run: TrainingRun) -> Iterator[None]:
    """Close the MLflow run as FINISHED, FAILED or KILLED by how the block ends."""
    try:
        yield
    except KeyboardInterrupt:
        run.close("KILLED", "interrupted")
        raise
    except BaseException as error:
        run.close("FAILED", f"{type(error).__name__}: {error}"[:500])
        raise
    run.close("FINISHED")


def _stop(signal_number: int, _frame: FrameType | None) -> None:
    """SIGTERM ends the stage as Ctrl-C does: workers stopped, run closed as KILLED."""
    raise KeyboardInterrupt(f"signal {signal_number}")


def _content_digest(pipeline: Pipeline, paths: PipelinePaths, data_digest: str, start: Path | None) -> str:
    """What the weights depend on: data, transforms, settings, weights to begin with, and the code that trains."""
    settings = pipeline.train.model_dump_json(exclude=set(WITHOUT_EFFECT))
    contents = [data_digest.encode(), paths.statistics.read_bytes(), settings.encode()]
    started = sorted(start.rglob("*") if start.is_dir() else [start]) if start else []
    code = Path(components.__file__).parent
    files = [file for folder in ("models", "training", "transforms") for file in sorted((code / folder).rglob("*.py"))]
    contents += [file.read_bytes() for file in (*started, *files) if file.is_file()]
    return hashlib.sha256(b"\0".join(contents)).hexdigest()


def _git_commit(root: Path) -> str:
    """The commit that is checked out, or "unknown" outside of git."""
    done = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "--verify", "-q", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"
