"""Where a worker listens, from the choice of its port to the meeting of its group."""

import json
import os
import socket
import subprocess
import sys

import pytest

WORKER = """
import json
from pipelines.cluster.backend import _listen, _meet, rendezvous
assert rendezvous() is None
address = _listen("127.0.0.1", range(LOW, LOW + 50))
_meet([address, address], 1, bytes(range(32)))
place = rendezvous()
print(json.dumps([*address, place.rank, place.listener.getsockname()[1], repr(place)]), flush=True)
input()
"""


def test_a_worker_holds_its_port_of_the_range_from_its_choice_on(repository, free_ports):
    [low] = free_ports(1)
    with subprocess.Popen(
        [sys.executable, "-c", WORKER.replace("LOW", str(min(low, 65_000)))],
        cwd=repository,
        env={**os.environ, "HEADRACE_PORTS": "1024-1024"},  # of the node: what the training says goes first
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            host, port, rank, listening, shown = json.loads(process.stdout.readline())
            assert (host, rank, listening) == ("127.0.0.1", 1, port)
            assert min(low, 65_000) <= port < min(low, 65_000) + 50
            with socket.socket() as other, pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", port))
            assert "secret" not in shown
        finally:
            process.kill()
            process.communicate(timeout=30)
