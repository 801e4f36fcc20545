import pytest

from headrace.pipelines.ray_cluster.addresses import is_loopback, own_address


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),  # as psutil names sockets of both families
        ("0.0.0.0", False),  # all interfaces
        ("::", False),
        ("::ffff:192.0.2.1", False),
        ("192.0.2.1", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
        ("", False),
    ],
)
def test_what_only_this_machine_reaches(host, expected):
    assert is_loopback(host) is expected


def test_own_address_is_the_one_on_the_way():
    assert own_address("127.0.0.1") == "127.0.0.1"
    assert own_address("no.such.host.invalid") is None
