"""HEADRACE_PORTS: which ranges are taken, and which port of a range."""

import socket

import pytest

from headrace.components.errors import ParamsError
from headrace.pipelines.ray_cluster.ports import PORTS_VARIABLE, bind_in_range, port_range


@pytest.mark.parametrize("text", ["", "  "])
def test_without_a_range_any_free_port_is_taken(monkeypatch, text):
    monkeypatch.setenv(PORTS_VARIABLE, text)
    assert port_range() is None
    with bind_in_range("127.0.0.1") as one, bind_in_range("127.0.0.1") as other:
        assert one.getsockname()[1] != other.getsockname()[1]


def test_both_ends_belong_to_the_range(monkeypatch):
    monkeypatch.setenv(PORTS_VARIABLE, "20000-20002")
    assert list(port_range()) == [20000, 20001, 20002]


@pytest.mark.parametrize(
    "text",
    [
        "20000",
        "20000-",
        "20010-20000",
        "80-90",  # needs root
        "20000-70000",
        "20000 - 20100",
        "20000-20100,30000-30100",
        "٢٠٠٠٠-٢٠١٠٠",  # int() would take these digits
        "a-b",
        "-1-5",
    ],
)
def test_nonsense_is_refused_with_what_is_expected(monkeypatch, text):
    monkeypatch.setenv(PORTS_VARIABLE, text)
    with pytest.raises(ParamsError, match=r"HEADRACE_PORTS is .*expected LOW-HIGH"):
        port_range()


def test_ports_in_use_are_passed_over_and_a_full_range_is_named(monkeypatch, free_ports):
    [port] = free_ports(1)
    monkeypatch.setenv(PORTS_VARIABLE, f"{port}-{port}")
    with bind_in_range("127.0.0.1") as bound:
        assert bound.getsockname() == ("127.0.0.1", port)
        with pytest.raises(ParamsError, match=r"every port of HEADRACE_PORTS=.* in use on 127\.0\.0\.1"):
            bind_in_range("127.0.0.1")
        monkeypatch.setenv(PORTS_VARIABLE, f"{port}-{port + 3}")
        with bind_in_range("127.0.0.1") as other:
            assert port < other.getsockname()[1] <= port + 3


def test_an_address_of_another_machine_is_an_immediate_error():
    with pytest.raises(OSError, match="assign"):
        bind_in_range("203.0.113.77")


def test_the_loopback_address_of_ipv6():
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        bound = bind_in_range("::1")
    except OSError:
        pytest.skip("no IPv6 here")
    with bound:
        assert bound.getsockname()[0] == "::1"
