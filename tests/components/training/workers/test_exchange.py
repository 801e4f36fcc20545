"""The exchange of a step between real processes: along the ring what TensorFlow's own gives, and an end to waiting."""

import json
import os
import subprocess
import sys
import time

import pytest

WORKER = """
import os, signal, sys
import numpy as np
import tensorflow as tf
from components.training.workers.coordination import limit_waiting
from components.training.workers.exchange import sum_over_workers
from components.training.workers.ring import connected

rank, num_workers, stops = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "stops"
limit_waiting(num_workers=num_workers, start_timeout_seconds=60)
strategy = tf.distribute.MultiWorkerMirroredStrategy()
generator = np.random.default_rng(rank)
shapes = [(5, 5, 1, 32), (32,), (700, 500), (), (10,)]
gradients = [tf.constant(generator.normal(size=shape).astype(np.float32)) for shape in shapes]
figures = tf.constant([rank + 1.0, 0.1])


def exchange(ring):
    step = tf.function(lambda: strategy.run(lambda: sum_over_workers(gradients, figures, ring=ring)))
    sums, added = step()
    return [total.numpy() for total in [*sums, added]]


with connected(strategy) as ring, connected(strategy, compression="bfloat16") as rounding:
    expected, found, rounded = exchange(None), exchange(ring), exchange(rounding)
    for place, (one, other, near) in enumerate(zip(expected, found, rounded, strict=True)):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(near, one, rtol=0.02, atol=0.1 if place == 2 else 1e-5)
    np.savez(f"{sys.argv[4]}/{rank}.npz", *found, *rounded)
    if stops and rank == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    if stops:
        print("waits", flush=True)
        exchange(ring)
"""


def start(repository, ports: list[int], *arguments: str) -> list[subprocess.Popen]:
    workers = [f"127.0.0.1:{port}" for port in ports]
    return [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(rank), str(len(ports)), *arguments],
            cwd=repository,
            env={
                **os.environ,
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "TF_CONFIG": json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": rank}}),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(len(ports))
    ]


@pytest.mark.slow
def test_the_ring_gives_what_tensorflow_gives_and_all_workers_the_same(repository, free_ports, tmp_path):
    import numpy as np

    processes = start(repository, free_ports(3), "ends", str(tmp_path))
    try:
        errors = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * 3, errors
    first, *others = [np.load(tmp_path / f"{rank}.npz") for rank in range(3)]
    for other in others:
        for name in first.files:
            np.testing.assert_array_equal(other[name], first[name])


@pytest.mark.slow
def test_a_stopped_worker_is_found_within_a_minute(repository, free_ports, tmp_path):
    waiting, stopped = start(repository, free_ports(2), "stops", str(tmp_path))
    try:
        assert waiting.stdout.readline() == "waits\n", waiting.stderr.read()
        started_seconds = time.monotonic()
        _, error = waiting.communicate(timeout=60)
        assert waiting.returncode != 0
        assert "lost worker 1" in error, error[-2000:]
        assert time.monotonic() - started_seconds < 60
    finally:
        waiting.kill()
        stopped.kill()
        stopped.communicate(timeout=20)
