"""Who reaches a server of this process once it is closed to others: the kernel's answer, and a real TensorFlow's."""

import json
import socket
import subprocess
import sys

import psutil
import pytest

from headrace.components.errors import TrainingError
from headrace.components.training.workers.server_filter import closed_to_others

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a filter of Linux")

STRANGER = "127.0.0.2"  # as good as another machine's
SERVER = """
import json, sys
import tensorflow as tf
from headrace.components.training.workers.server_filter import closed_to_others

port = int(sys.argv[1])
with closed_to_others(port, hosts=["127.0.0.1"]):
    tf.distribute.Server({"worker": [f"127.0.0.1:{port}"]}, job_name="worker", task_index=0)
with tf.Graph().as_default(), tf.compat.v1.Session(f"grpc://127.0.0.1:{port}") as session:
    print(json.dumps(session.run(tf.constant(3)).item()), flush=True)
input()
"""


def reaches(port: int, host: str = "127.0.0.1", *, source: str | None = None, timeout_seconds: float = 1.5) -> bool:
    """Whether a connection is made; a packet that is dropped has no answer."""
    source_address = (source, 0) if source else None
    try:
        socket.create_connection((host, port), timeout=timeout_seconds, source_address=source_address).close()
    except TimeoutError:
        return False
    return True


def test_a_server_on_all_interfaces_is_there_for_the_group_alone():
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        before = socket.create_connection(("127.0.0.1", port), source_address=(STRANGER, 0), timeout=5)
        accepted, _ = server.accept()
        member = socket.create_connection(("127.0.0.1", port), timeout=5)
        of_member, _ = server.accept()
        with before, accepted, member, of_member:
            with closed_to_others(port, hosts=["127.0.0.1", "198.51.100.7"]):
                pass
            before.settimeout(5)
            assert before.recv(1) == b"", "who was there before is thrown out"
            member.sendall(b"x")
            assert of_member.recv(1) == b"x"
            assert reaches(port)
            assert not reaches(port, source=STRANGER)


def test_both_families_are_filtered_on_a_socket_that_serves_both():
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        port = server.getsockname()[1]
        with closed_to_others(port, hosts=["::1", "2001:db8::7", "127.0.0.1"]):
            pass
        assert reaches(port)
        assert reaches(port, "::1")
        assert not reaches(port, source=STRANGER)
        with closed_to_others(port, hosts=["2001:db8::7"]):
            pass
        assert not reaches(port, "::1")
        assert not reaches(port)


def test_where_nothing_listens_the_training_ends(free_ports):
    [port] = free_ports(1)
    with (
        pytest.raises(TrainingError, match=rf"no socket of this process listens at port {port}.*use_gpu: false"),
        closed_to_others(port, hosts=["127.0.0.1"]),
    ):
        pass


def test_other_ports_of_the_process_stay_as_they_are():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as other:
        with closed_to_others(server.getsockname()[1], hosts=["198.51.100.7"]):
            pass
        assert reaches(other.getsockname()[1], source=STRANGER)
        assert not reaches(server.getsockname()[1])


@pytest.mark.slow
def test_tensorflows_server_is_reached_from_the_group_and_through_no_other_address(repository, free_ports):
    [port] = free_ports(1)
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(port)],
        cwd=repository,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert json.loads(process.stdout.readline()) == 3, process.stderr.read()
            assert any(
                one.laddr.port == port and one.laddr.ip in ("::", "0.0.0.0")
                for one in psutil.Process(process.pid).net_connections("tcp")
            ), "TensorFlow binds to all interfaces, or the filter is not needed any more"
            assert reaches(port)
            assert not reaches(port, source=STRANGER)
            for address in other_addresses():
                assert not reaches(port, address)
        finally:
            process.kill()
            process.communicate(timeout=30)


def other_addresses() -> list[str]:
    """This machine's addresses in its networks."""
    addresses = [one for interface in psutil.net_if_addrs().values() for one in interface]
    return [one.address for one in addresses if one.family == socket.AF_INET and not one.address.startswith("127.")]
