"""Faults of a node's network, on a network namespace with one server: each does what it says, and can be taken back."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from headrace.components.errors import ServiceError
from infra.cluster_test.network import Namespace

HERE, THERE, PORT = "10.213.78.1", "10.213.78.2", 7000
# Echoes datagrams, with their number so far; of a connection it reads all, and answers with one byte.
SERVER = f"""
import socket, threading
datagrams = socket.socket(type=socket.SOCK_DGRAM)
datagrams.bind(("{THERE}", {PORT}))
listener = socket.create_server(("{THERE}", {PORT}))
def take():
    while True:
        connection, _ = listener.accept()
        while connection.recv(65536):
            pass
        connection.sendall(b"x")
        connection.close()
threading.Thread(target=take, daemon=True).start()
print("ready", flush=True)
count = 0
while True:
    _, sender = datagrams.recvfrom(100)
    count += 1
    try:
        datagrams.sendto(str(count).encode(), sender)
    except PermissionError:  # lost on its way out
        pass
"""


@dataclass
class Server:
    network: Namespace

    def echoed(self, count: int) -> list[int]:
        """What came back of so many datagrams: for each, how many had reached the server by then."""
        with closing(socket.socket(type=socket.SOCK_DGRAM)) as client:
            client.settimeout(0.3)
            for _ in range(count):
                client.sendto(b"x", (THERE, PORT))
                time.sleep(0.001)
            found = []
            try:
                while len(found) < count:
                    found.append(int(client.recv(100)))
            except TimeoutError:
                pass
            return found

    def seconds_of(self, count_bytes: int) -> float:
        """How long it takes to send so much."""
        started_seconds = time.monotonic()
        with socket.create_connection((THERE, PORT), timeout=20) as connection:
            connection.sendall(bytes(count_bytes))
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b"x"
        return time.monotonic() - started_seconds


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if lacking := [program for program in ("ip", "iptables", "nsenter", "tc") if shutil.which(program) is None]:
        pytest.skip(f"needs {', '.join(lacking)}")
    name = "headrace-test"
    if subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True).returncode != 0:
        pytest.skip("needs to make a network namespace, which only root may")
    inside = ["ip", "netns", "exec", name]
    try:
        for command in (
            ["ip", "link", "add", "headrace0", "type", "veth", "peer", "name", "eth0", "netns", name],
            ["ip", "address", "add", f"{HERE}/30", "dev", "headrace0"],
            ["ip", "link", "set", "headrace0", "up"],
            [*inside, "ip", "address", "add", f"{THERE}/30", "dev", "eth0"],
            [*inside, "ip", "link", "set", "eth0", "up"],
        ):
            subprocess.run(command, check=True, capture_output=True)
        command = [*inside, sys.executable, "-c", SERVER]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout.readline() == b"ready\n"
                yield Server(Namespace(Path("/run/netns") / name))
            finally:
                process.kill()
    finally:
        subprocess.run(
            ["ip", "netns", "delete", name], check=True
        )  # its end of the pair goes with it, and so the other


@pytest.fixture(autouse=True)
def restored(server: Server) -> Iterator[None]:
    assert len(server.echoed(20)) == 20
    yield
    server.network.restore()
    assert len(server.echoed(20)) == 20


@pytest.mark.parametrize(("direction", "arrived"), [("both ways", 0), ("incoming", 0), ("outgoing", 20)])
def test_a_link_that_is_cut_drops_all_packets_of_its_direction(server, direction, arrived):
    [*_, before] = server.echoed(1)
    server.network.cut(direction)
    assert server.echoed(20) == []
    server.network.restore()
    assert server.echoed(1) == [before + arrived + 1]


def test_a_lossy_link_loses_its_share_of_both_directions(server):
    server.network.lose(0.2)
    echoed = sum(len(server.echoed(100)) for _ in range(10))  # as many as a socket's buffer holds
    assert echoed == pytest.approx(640, abs=80)  # 0.8 of 0.8; five standard deviations


def test_a_slow_link_is_as_fast_as_it_says(server):
    assert server.seconds_of(1_000_000) < 0.5
    server.network.slow(megabits_per_second=8)
    assert 0.9 < server.seconds_of(1_000_000) < 3


def test_a_namespace_that_is_gone_is_named(tmp_path):
    with pytest.raises(ServiceError, match="nsenter --net="):
        Namespace(tmp_path / "none").cut("both ways")
