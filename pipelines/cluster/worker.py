"""What runs on every Ray Train worker. TensorFlow is imported inside, after TF_CONFIG is set."""

import csv
import json
import os
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from components.errors import UserError
from pipelines.cluster.job import TrainJob
from pipelines.cluster.progress import tell
from pipelines.cluster.results import CHECKPOINT, HISTORY, MODEL, TENSORBOARD
from pipelines.storage.atomic import replace_file, replace_folder

if TYPE_CHECKING:
    from components.training.checkpoints import Checkpoint
    from components.transforms.fitted import FittedTable


def train_on_worker(config: dict[str, str]) -> None:
    """Train this worker's part of the job in `config["job"]`; worker 0 tells of each epoch and leaves the results.

    A worker that lost the others raises, and Ray Train starts the group again, from the last checkpoint. Any other
    error is left in `job.failure` and ends the training: it would only come again.
    """
    import ray.train

    job = TrainJob.model_validate_json(config["job"])
    context = ray.train.get_context()
    rank = context.get_world_rank()
    try:
        _limit_threads(context.get_local_world_size())
        _train(job, rank=rank, num_workers=context.get_world_size())
    except Exception as error:
        if _lost_the_others(error):
            raise
        _leave_failure(job, rank, error)


def _train(job: TrainJob, *, rank: int, num_workers: int) -> None:
    from components.training.columns import load_split
    from components.training.loop import Data, Worker, train_worker
    from components.transforms.fitted import FittedTable

    fitted = FittedTable.model_validate_json(job.statistics.read_text(encoding="utf-8"))
    final = train_worker(
        Data(*load_split(job.splits / "train", fitted=fitted)),
        Data(*load_split(job.splits / "validation", fitted=fitted)),
        label=fitted.label,
        training=job.train,
        worker=Worker(rank, num_workers),
        folder=job.checkpoints,
        on_epoch=lambda epoch, figures: _log_epoch(job, fitted, epoch, figures),
    )
    if rank == 0:
        _leave_results(job, fitted, final)


def _lost_the_others(error: Exception) -> bool:
    import tensorflow as tf

    lost = (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
    )
    return isinstance(error, lost) or "Collective ops is aborted" in str(error)


def _leave_failure(job: TrainJob, rank: int, error: Exception) -> None:
    content = {
        "rank": rank,
        "mendable": isinstance(error, UserError),
        "message": str(error),
        "traceback": "".join(traceback.format_exception(error)),
    }
    with replace_file(job.failure) as file:
        file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _limit_threads(workers_on_node: int) -> None:
    """Share the node's cores among its workers; otherwise each takes all of them, and they wait for each other."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    tf.config.threading.set_intra_op_parallelism_threads(max(1, cores // workers_on_node))


def _log_epoch(job: TrainJob, fitted: "FittedTable", epoch: int, figures: dict[str, float]) -> None:
    """Tell of an epoch, with the figures in the label's own unit; the driver sends them to MLflow."""
    tell(job.progress, {"epoch": epoch, **in_label_unit(figures, fitted)})


def in_label_unit(figures: dict[str, float], fitted: "FittedTable") -> dict[str, float]:
    """Return the figures with errors of a transformed number label back in the label's own unit."""
    scale = fitted.label_transform.scale if fitted.label_transform else 1.0
    factors = {"loss": scale**2, "root_mean_squared_error": scale, "mean_absolute_error": scale}
    return {
        name: value * (1.0 if scale == 1.0 else factors.get(name.removeprefix("validation_"), 1.0))
        for name, value in figures.items()
    }


def _leave_results(job: TrainJob, fitted: "FittedTable", final: "Checkpoint") -> None:
    from components.training import checkpoints

    history = [in_label_unit(figures, fitted) for figures in final.state.history]
    with replace_folder(job.results) as folder:
        _write_history(folder / HISTORY, history)
        _write_tensorboard(folder / TENSORBOARD, history)
        checkpoints.save(folder / CHECKPOINT, final)
        _save_model(folder / MODEL, job, fitted, final)


def _save_model(path: Path, job: TrainJob, fitted: "FittedTable", final: "Checkpoint") -> None:
    """The best weights in a model of their own, outside the strategy, with the normalization in front."""
    from components.models.build import build, with_probabilities
    from components.training.columns import input_shape
    from components.transforms.layers import raw_model

    core = build(job.train.model, input_shape=input_shape(fitted), label=fitted.label)
    core.set_weights(final.best_weights)
    raw_model(with_probabilities(core, label=fitted.label), fitted).save(path)


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**figures, "epoch": int(figures["epoch"])} for figures in history)


def _write_tensorboard(folder: Path, history: list[dict[str, float]]) -> None:
    import tensorflow as tf

    for split, prefix in (("train", ""), ("validation", "validation_")):
        with tf.summary.create_file_writer(str(folder / split)).as_default():
            for figures in history:
                names = [name for name in figures if name.startswith("validation_") == bool(prefix)]
                for name in set(names) - {"epoch"}:
                    tf.summary.scalar(f"epoch_{name.removeprefix(prefix)}", figures[name], step=int(figures["epoch"]))
