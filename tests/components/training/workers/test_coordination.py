"""A worker with TensorFlow's own exchange whose peer never starts."""

import json
import subprocess
import sys
import time

import pytest

WORKER = """
import json, sys
from headrace.components.training.workers.coordination import limit_waiting
import tensorflow as tf
workers, rank = json.loads(sys.argv[1]), int(sys.argv[2])
try:
    limit_waiting(workers, rank=rank, start_timeout_seconds=10)
    tf.distribute.MultiWorkerMirroredStrategy(
        tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec({"worker": workers}), task_type="worker", task_id=rank, rpc_layer="grpc"
        )
    )
except tf.errors.OpError as error:
    print("raised", type(error).__name__)
"""


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("rank", [0, 1])
def test_a_peer_that_never_starts_ends_the_wait_within_its_limit(repository, free_ports, rank):
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    started_seconds = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", WORKER, json.dumps(workers), str(rank)],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert ended.stdout.startswith("raised"), ended.stderr[-2000:]
    assert time.monotonic() - started_seconds < 60
