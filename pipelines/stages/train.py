"""Train on Ray with multi-worker TensorFlow; publish the model, its checkpoint and where they come from."""

import csv
import json
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import structlog

from components.errors import TrainingError
from pipelines.cluster.away import is_away, train_away
from pipelines.cluster.connect import ray_session
from pipelines.cluster.fit import fit
from pipelines.cluster.handoff import (
    Handoff,
    bring_earlier,
    bring_inputs,
    is_in_job,
    keep_record,
    make_handoff,
    publish_inputs,
    publish_run,
    read_handoff,
)
from pipelines.cluster.job import TrainJob
from pipelines.cluster.origin import content_digest, origin_of, process_tags
from pipelines.cluster.results import destinations
from pipelines.params import Pipeline
from pipelines.paths import PipelinePaths, ProjectPaths
from pipelines.storage.atomic import replace_file, replace_folder
from pipelines.tracking.start import fetch_start
from pipelines.tracking.training_run import TrainingRun, begin, deliver, record_file

log = structlog.get_logger()


def train(pipeline: Pipeline, paths: PipelinePaths) -> None:
    """Write the model, checkpoint, TensorBoard logs, history and run.json of one training.

    It trains here, on the Ray of RAY_ADDRESS or one that starts in this process; or, where RAY_ADDRESS is the address
    of a job server, as a job there.
    """
    signal.signal(signal.SIGTERM, _stop)
    deliver(paths.root)
    told = read_handoff(paths.root)
    start = bring_inputs(paths, told) if is_in_job() else fetch_start(pipeline, paths)
    run_name = f"{pipeline.name}-{content_digest(pipeline, paths, start)[:12]}"
    if (earlier := _earlier(paths, run_name)) is not None:
        log.info("the same data, settings and code were trained before: kept as it is", **earlier)
        return
    handoff = told
    if told is None and (is_away() or is_in_job()):
        handoff = make_handoff(paths, run_name=run_name, start_weights=start)
    if told is None and handoff is not None and is_in_job():
        publish_inputs(paths, handoff, start_weights=start)
    if handoff is not None and handoff.run_name != run_name:
        raise TrainingError(
            f"expected to train {handoff.run_name}, found {run_name} from what is here: the code that trains is not "
            "that of whoever submitted this; install the same version of Headrace on all nodes"
        )
    if handoff is not None and is_away():
        published = _bring(train_away(pipeline, paths, handoff, start_weights=start), paths)
    else:
        published = _train_here(pipeline, paths, run_name=run_name, start=start, handoff=handoff)
    log.info(
        "trained",
        pipeline=pipeline.name,
        epochs=published["epochs"],
        best_epoch=published["best_epoch"],
        model=str(paths.model.relative_to(paths.root)),
    )


def _train_here(
    pipeline: Pipeline, paths: PipelinePaths, *, run_name: str, start: Path | None, handoff: Handoff | None
) -> dict[str, Any]:
    """Train with this process as the driver, and return what run.json says."""
    job = TrainJob(
        run_name=run_name,
        folder=ProjectPaths(paths.root).ray_storage / run_name,
        splits=paths.splits,
        statistics=paths.statistics,
        train=pipeline.train,
        start_weights=start,
        storage=handoff.storage if handoff else None,
        inputs=handoff.inputs if handoff else None,
    )
    job.folder.mkdir(parents=True, exist_ok=True)
    bring_earlier(job, record_file(paths.root, run_name))
    origin = origin_of(pipeline, paths, run_name=run_name, handoff=handoff)
    run = begin(
        paths.root,
        experiment=origin["mlflow_experiment"],
        run_name=run_name,
        tags={name: str(value) for name, value in {**origin, **process_tags(handoff)}.items()},
        params=pipeline.train.model_dump(mode="json"),
        epochs=pipeline.train.epochs,
        on_change=partial(keep_record, job),
    )
    with _truthful_status(run):
        _train(job, run)
        return _publish(job, paths, origin, run)


def _earlier(paths: PipelinePaths, run_name: str) -> dict[str, Any] | None:
    """What there is of this very training if all its results are in place, to be named in the log."""
    results = (paths.model, paths.checkpoint, paths.checkpoints, paths.tensorboard, paths.history, paths.run)
    if not all(path.exists() for path in results):
        return None
    run = json.loads(paths.run.read_text(encoding="utf-8"))
    if run["run_name"] != run_name:
        return None
    return {"run_name": run_name, "epochs": run["epochs"], "to_train_again": f"remove {paths.model.parent.name}"}


def _train(job: TrainJob, run: TrainingRun) -> None:
    """Run the job, or only pick up its results where an earlier try ended between training and publishing."""
    for left in (job.failure, job.published, job.stop):  # of an earlier try
        left.unlink(missing_ok=True)
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


def _bring(folder: Path, paths: PipelinePaths) -> dict[str, Any]:
    """Copy what a job has brought about into the artifact tree, run.json last, and return what that says."""
    _copy({**destinations(folder / "results", paths), folder / "run" / paths.run.name: paths.run})
    shutil.rmtree(folder.parent)
    content: dict[str, Any] = json.loads(paths.run.read_text(encoding="utf-8"))
    return content


def _copy(destinations: Mapping[Path, Path]) -> None:
    for source, destination in destinations.items():
        if source.is_dir():
            with replace_folder(destination) as folder:
                shutil.copytree(source, folder, dirs_exist_ok=True)
        else:
            with replace_file(destination) as file:
                shutil.copyfile(source, file)


def _publish(job: TrainJob, paths: PipelinePaths, origin: Mapping[str, Any], run: TrainingRun) -> dict[str, Any]:
    """Copy the results into the artifact tree, run.json last, and return what it says."""
    _copy(destinations(job.results, paths))
    with paths.history.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):  # an epoch that could not be told when it ended
            run.add({name: float(value) for name, value in row.items()})
    state = json.loads((paths.checkpoint / "state.json").read_text(encoding="utf-8"))
    content = {**origin, "mlflow_run_id": run.run_id, "epochs": state["epoch"], "best_epoch": state["best_epoch"]}
    with replace_file(paths.run) as file:
        file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    publish_run(job, paths.run)
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
