"""A worker whose peer never starts."""

import json
import os
import subprocess
import sys
import time

import pytest

WORKER = """
from components.training.workers.coordination import limit_waiting
import tensorflow as tf
try:
    limit_waiting(num_workers=2, start_timeout_seconds=10)
    tf.distribute.MultiWorkerMirroredStrategy()
except tf.errors.OpError as error:
    print("raised", type(error).__name__)
"""


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_peer_that_never_starts_ends_the_wait_within_its_limit(repository, free_ports, rank):
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    config = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": rank}}
    started_seconds = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", WORKER],
        cwd=repository,
        env={**os.environ, "TF_CONFIG": json.dumps(config)},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert ended.stdout.startswith("raised"), ended.stderr[-2000:]
    assert time.monotonic() - started_seconds < 60
