"""The results of a training, which worker 0 writes when all epochs are done."""

import csv
import errno
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.components.files.atomic import replace_folder
from headrace.pipelines.ray_train.node import publish_results
from headrace.pipelines.ray_train.progress_files import report_event
from headrace.pipelines.ray_train.result_files import CHECKPOINT, CHECKPOINTS, HISTORY
from headrace.pipelines.ray_train.training_events import NoteEvent
from headrace.pipelines.ray_train.training_job import Job

if TYPE_CHECKING:
    from headrace.components.training.checkpoints import Checkpoint

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ROOM_POLL_SECONDS = 5.0
ROOM_TIMEOUT_SECONDS = 3600.0

History = Sequence[Mapping[str, float]]


def write_results(job: Job, final: "Checkpoint", history: History, *, add: Callable[[Path], None]) -> None:
    """Write history, checkpoints, and what `add` writes to their folder; on a full disk wait for room.

    Hours of training may be in them.
    """
    deadline_seconds = time.monotonic() + ROOM_TIMEOUT_SECONDS
    while True:
        try:
            return _write(job, final, history, add)
        except OSError as error:
            if error.errno not in NO_ROOM or time.monotonic() > deadline_seconds:
                raise
            report_event(job, NoteEvent(note=f"the results wait for room in {job.folder}: {error}"))
            time.sleep(ROOM_POLL_SECONDS)


def _write(job: Job, final: "Checkpoint", history: History, add: Callable[[Path], None]) -> None:
    from headrace.components.training import checkpoints

    with replace_folder(job.results) as folder:
        _write_history(folder / HISTORY, history)
        checkpoints.save(folder / CHECKPOINT, final)
        _keep_checkpoints(job.checkpoints, folder / CHECKPOINTS)
        add(folder)
    if job.storage:
        publish_results(job)


def _keep_checkpoints(source: Path, destination: Path) -> None:
    """Copy the checkpoints that were kept, by hard links where possible: these files never change."""
    source.mkdir(exist_ok=True)  # where there was never room for one
    others = shutil.ignore_patterns(".*", "histograms-*", "samples-*")
    shutil.copytree(source, destination, copy_function=_link, ignore=others)


def _link(source: str, destination: str) -> None:
    try:
        os.link(source, destination)
    except OSError:  # not every file system can
        shutil.copyfile(source, destination)


def _write_history(path: Path, history: History) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**metrics, "epoch": int(metrics["epoch"])} for metrics in history)
