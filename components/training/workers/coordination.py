"""Limits on how long TensorFlow's own servers wait for each other, of workers with GPUs; by default, for ever."""

import socket
import time
from collections.abc import Sequence

import tensorflow as tf

from headrace.components.compatibility.tensorflow_internals import configure_coordination

HEARTBEAT_TIMEOUT_SECONDS = 20
SHUTDOWN_TIMEOUT_SECONDS = 10
POLL_SECONDS = 0.05


def limit_waiting(workers: Sequence[str], *, rank: int, start_timeout_seconds: float) -> None:
    """Make TensorFlow raise where a worker does not start in time, or does not answer any more.

    To be called right before the strategy is made, which otherwise configures the coordination service without limits.
    Worker 0 comes back when all others are there; raises DeadlineExceededError if they are not within the limit.
    """
    configure_coordination(
        num_workers=len(workers),
        register_seconds=start_timeout_seconds,
        heartbeat_seconds=HEARTBEAT_TIMEOUT_SECONDS,
        shutdown_seconds=SHUTDOWN_TIMEOUT_SECONDS,
    )
    if rank == 0:
        _wait_for(workers[1:], timeout_seconds=start_timeout_seconds)


def _wait_for(workers: Sequence[str], *, timeout_seconds: float) -> None:
    """Wait until all listen: the limits above don't hold for worker 0, which would wait for an hour."""
    deadline_seconds = time.monotonic() + timeout_seconds
    for rank, worker in enumerate(workers, start=1):
        host, _, port = worker.rpartition(":")
        while not _listens(host.strip("[]"), int(port), timeout_seconds=1.0):
            if time.monotonic() > deadline_seconds:
                raise tf.errors.DeadlineExceededError(
                    None, None, f"worker {rank} at {worker} did not start within {timeout_seconds:g} s"
                )
            time.sleep(POLL_SECONDS)


def _listens(host: str, port: int, *, timeout_seconds: float) -> bool:
    try:
        socket.create_connection((host, port), timeout=timeout_seconds).close()
    except OSError:
        return False
    return True
