"""A training of `headrace.fit` by processes that a launcher started: this is one of them, and reads TF_CONFIG."""

import os
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

import structlog

from headrace.components.errors import ParamsError, ServiceError
from headrace.components.training.checkpoints import Checkpoint
from headrace.pipelines.compatibility.tensorflow_import import import_tensorflow
from headrace.pipelines.distributed_plan import DistributedPlan
from headrace.pipelines.fit.given_splits import GivenSplit, open_here
from headrace.pipelines.fit.record import FitRecord
from headrace.pipelines.fit.run import begin_run, publish_results
from headrace.pipelines.host.tf_config import Member
from headrace.pipelines.ray_train.fit_job import FitJob
from headrace.pipelines.ray_train.fit_worker import train_function
from headrace.pipelines.ray_train.preemption import STOP, listen, listen_again
from headrace.pipelines.tracking.training_run import TrainingRun, truthful_status

log = structlog.get_logger()


def train_in_group(
    home: Path,
    folder: Path,
    job: FitJob,
    record: FitRecord,
    member: Member,
    splits: Mapping[str, GivenSplit],
    *,
    experiment: str,
) -> tuple[FitRecord, Checkpoint]:
    """Train as a member of the group; the first one records the run and writes the results into the folder.

    The folder is shared by all. Raises ServiceError where another member is lost, so that the launcher starts the
    group again.
    """
    if member.rank > 0:
        return record, _trained(job, member, splits, None)
    run = begin_run(home, job, record, experiment=experiment)
    with truthful_status(run):
        final = _trained(job, member, splits, run)
        group = {"num_workers": len(member.addresses), "threads_per_worker": _threads()}
        return publish_results(home, folder, job, record, run, [group]), final


def _trained(job: FitJob, member: Member, splits: Mapping[str, GivenSplit], run: TrainingRun | None) -> Checkpoint:
    import_tensorflow()
    from headrace.components.training.loop import Worker
    from headrace.components.training.observer import Figures, Observer, Stopped
    from headrace.components.training.workers import rendezvous

    if threading.current_thread() is threading.main_thread():
        listen()

    def on_epoch(epoch: int, metrics: Figures, system: Figures) -> None:
        if run is not None:
            run.add({"epoch": epoch, **metrics, **system})

    observer = Observer(on_epoch=on_epoch, on_note=log.warning, stop=STOP, on_group=listen_again)
    try:
        place = rendezvous.listen(member.addresses, rank=member.rank, secret=member.secret)
        worker = Worker(member.rank, len(member.addresses), job.train.start_timeout_seconds, place)
        with tempfile.TemporaryDirectory(prefix="headrace-fit-") as scratch:
            opened = open_here(job.model_copy(update={"data": Path(scratch)}), splits)
            final = train_function(job, opened["train"], opened.get("validation"), worker=worker, observer=observer)
            return final.in_memory()  # the result outlives the checkpoints
    except Stopped as stopped:
        raise KeyboardInterrupt(f"a member of the group was asked to stop: {stopped}") from stopped
    except OSError as error:
        raise ServiceError(f"the group of {len(member.addresses)} is not whole: {error}; start it again") from error


def _threads() -> int:
    """How many threads this process computes with: as set for TensorFlow, or one for each core."""
    import tensorflow as tf

    given = os.environ.get("TF_NUM_INTRAOP_THREADS") or tf.config.threading.get_intra_op_parallelism_threads()
    return int(given) or len(os.sched_getaffinity(0))


def require_group(member: Member, plan: DistributedPlan, *, num_workers: int, force: bool) -> None:
    """Raise ParamsError for arguments that a group of processes can't have."""
    count = len(member.addresses)
    if num_workers not in (1, count):
        raise ParamsError(f"num_workers is {num_workers}, and TF_CONFIG has {count} processes; leave num_workers out")
    if plan.is_bitwise:
        raise ParamsError(
            "reproducible='bitwise' needs processes that headrace.fit starts itself, of one thread each; start the "
            "program without a launcher"
        )
    if force:
        raise ParamsError("force=True can't be coordinated by processes of a launcher; remove the folder instead")
