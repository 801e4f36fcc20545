"""A worker's port, from its choice to TensorFlow's use of it."""

import json
import socket
import subprocess
import sys

import pytest

SERVER = """
import json, os
from pipelines.cluster.backend import keep_port
ports = [keep_port("127.0.0.1") for _ in range(2)]
import tensorflow as tf
cluster = {"worker": [f"127.0.0.1:{ports[0]}"]}
server = tf.distribute.Server(cluster, job_name="worker", task_index=0)
print(json.dumps(ports), flush=True)
input()
"""


@pytest.mark.slow
def test_a_port_can_be_taken_by_nobody_but_the_worker_that_chose_it(repository):
    with subprocess.Popen(
        [sys.executable, "-c", SERVER],
        cwd=repository,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            used, kept = json.loads(process.stdout.readline())
            socket.create_connection(("127.0.0.1", used), timeout=10).close()  # TensorFlow listens there
            with socket.socket() as other, pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", kept))  # chosen, and not yet used
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", kept), timeout=10)
        finally:
            process.kill()
            process.communicate(timeout=30)
