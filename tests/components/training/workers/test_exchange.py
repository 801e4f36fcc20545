"""The exchange of a step between real processes: the sums, the same bits for all, and an end to waiting."""

import json
import os
import subprocess
import sys
import time

import pytest

WORKER = """
import json, os, signal, sys
import numpy as np
import tensorflow as tf
from headrace.components.training.workers.exchange import joined, sum_over_workers
from headrace.components.training.workers.rendezvous import listen

rank, addresses, stops = int(sys.argv[1]), [("127.0.0.1", port) for port in json.loads(sys.argv[2])], sys.argv[3]
shapes = [(5, 5, 1, 32), (32,), (700, 500), (), (10,)]
workers = [
    [np.random.default_rng((other, place)).normal(size=shape).astype(np.float32) for place, shape in enumerate(shapes)]
    for other in range(len(addresses))
]
own = tf.constant([rank + 1.0, 0.1])


def total(exchange):
    gradients = list(map(tf.constant, workers[rank]))
    sums, metrics = tf.function(lambda: sum_over_workers(gradients, own, exchange=exchange))()
    return [one.numpy() for one in [*sums, metrics]]


def join(compression):
    return joined(listen(addresses, rank=rank, secret=bytes(32)), timeout_seconds=60, compression=compression)


with join("bfloat16") as rounding:
    rounded = total(rounding)
with join("none") as exchange:  # at the same addresses: all are free again
    found = total(exchange)
    for place, (one, near) in enumerate(zip(found, rounded, strict=True)):
        expected = [sum(range(1, len(addresses) + 1)), 0.1 * len(addresses)]
        if place < len(shapes):
            expected = np.sum([gradients[place] for gradients in workers], axis=0)
        np.testing.assert_allclose(one, expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(near, expected, rtol=0.02, atol=0.1 if place == 2 else 1e-5)
    np.savez(f"{sys.argv[4]}/{rank}.npz", *found, *rounded)
    if stops == "stops" and rank == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    if stops == "stops":
        print("waits", flush=True)
        total(exchange)
"""


def start(repository, ports: list[int], *arguments: str) -> list[subprocess.Popen]:
    return [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(rank), json.dumps(ports), *arguments],
            cwd=repository,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(len(ports))
    ]


@pytest.mark.slow
def test_the_ring_gives_the_sums_and_all_workers_the_same_bits(repository, free_ports, tmp_path):
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
