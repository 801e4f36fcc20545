"""Heartbeats over real sockets: who runs, who is silent, who has gone."""

import socket
import time

import pytest

from headrace.components.training.workers.heartbeat import MAXIMUM_SILENT_BEATS, Heartbeat

BEAT_SECONDS = 0.01


def pair() -> tuple[socket.socket, socket.socket]:
    one, other = socket.socketpair()
    one.setblocking(False)
    other.setblocking(False)
    return one, other


def wait_until(is_true, *, timeout_seconds: float = 20.0) -> None:
    deadline_seconds = time.monotonic() + timeout_seconds
    while not is_true():
        assert time.monotonic() < deadline_seconds
        time.sleep(BEAT_SECONDS)


def test_a_neighbour_that_beats_is_never_lost_and_one_that_is_silent_is():
    beats, silent = pair(), pair()
    one = Heartbeat({+1: beats[0], -1: silent[0]}, beat_seconds=BEAT_SECONDS)
    other = Heartbeat({-1: beats[1]}, beat_seconds=BEAT_SECONDS)
    with beats[0], beats[1], silent[0], silent[1], one.beating(), other.beating():
        wait_until(lambda: one.lost(-1))
        assert one.lost(-1) == f"no heartbeat for {MAXIMUM_SILENT_BEATS * BEAT_SECONDS:g} s"
        assert one.lost(+1) is other.lost(-1) is None


@pytest.mark.parametrize(("start_timeout_seconds", "more"), [(0.0, 0), (2.5, 3)])
def test_so_many_silent_beats_are_borne_and_not_one_more(start_timeout_seconds, more):
    mine, theirs = pair()
    one = Heartbeat({+1: mine}, start_timeout_seconds=start_timeout_seconds)
    with mine, theirs:
        for _ in range(more + MAXIMUM_SILENT_BEATS - 1):
            one._exchange(+1, mine)
        assert one.lost(+1) is None
        one._exchange(+1, mine)
        assert one.lost(+1) == f"no heartbeat for {MAXIMUM_SILENT_BEATS:g} s"
        theirs.send(b".")
        one._exchange(+1, mine)
        assert one.lost(+1) is None


def test_a_neighbour_that_has_ended_is_lost_immediately():
    mine, theirs = pair()
    one = Heartbeat({+1: mine}, beat_seconds=BEAT_SECONDS)
    with mine, one.beating():
        theirs.close()
        wait_until(lambda: one.lost(+1))
        assert "silent" not in one.lost(+1)


def test_after_a_pause_of_this_process_nobody_is_lost():
    """Beats are counted, not seconds: a machine that slept continues."""
    mine, theirs = pair()
    one = Heartbeat({+1: mine})
    with mine, theirs:
        one._exchange(+1, mine)
        assert one.lost(+1) is None
        theirs.send(b".")
        one._exchange(+1, mine)
        assert one._silent_beats[+1] == 0


def test_beats_that_nobody_reads_hold_up_nobody():
    mine, theirs = pair()
    with mine, theirs:
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        one = Heartbeat({+1: mine})
        for _ in range(10_000):
            theirs.send(b".")
            one._exchange(+1, mine)
        assert one.lost(+1) is None
