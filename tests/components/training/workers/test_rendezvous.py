"""How workers find each other over real sockets, and what becomes of those who do not belong to them."""

import hmac
import os
import secrets
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest

from headrace.components.errors import TrainingError
from headrace.components.training.workers import rendezvous
from headrace.components.training.workers.rendezvous import NONCE_BYTES, PROOF_BYTES, Rendezvous, connected, listen

SECRET = bytes(range(32))


def places(num_workers: int, host: str = "127.0.0.1") -> list[Rendezvous]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listeners = [socket.create_server((host, 0), family=family) for _ in range(num_workers)]
    addresses = [listener.getsockname()[:2] for listener in listeners]
    return [Rendezvous(rank, addresses, SECRET, listener) for rank, listener in enumerate(listeners)]


def meet(group: list[Rendezvous], *, timeout_seconds: float = 20.0) -> list[object]:
    """What each worker heard of its neighbours, or the error it ended with."""
    everybody = threading.Barrier(len(group))

    def work(place: Rendezvous) -> object:
        try:
            with connected(place, timeout_seconds=timeout_seconds) as neighbours:
                for connection in neighbours:
                    connection.setblocking(True)
                neighbours.to_next.sendall(b"d%d" % place.rank)
                neighbours.beat_next.sendall(b"h%d" % place.rank)
                heard = neighbours.from_previous.recv(2), neighbours.beat_previous.recv(2)
                everybody.wait(timeout=20)
                return heard
        except OSError as error:
            return error

    with ThreadPoolExecutor(len(group)) as threads:
        return list(threads.map(work, group))


def caught(address: tuple[str, int], messages: list[bytes], *, until_seconds: float = 3.0) -> bytes:
    """All that a stranger is sent for its messages, till it is thrown out or has waited long enough."""
    received = b""
    with suppress(OSError), socket.create_connection(address, timeout=until_seconds) as connection:  # refused or reset
        with suppress(OSError):  # thrown out meanwhile: what was sent to it before that can still be read
            for message in messages:
                connection.sendall(message)
            connection.shutdown(socket.SHUT_WR)
        while part := connection.recv(4096):
            received += part
    return received


@pytest.mark.parametrize("num_workers", [2, 3, 5])
def test_every_worker_is_connected_with_both_neighbours(num_workers):
    heard = meet(places(num_workers))
    assert heard == [(b"d%d" % rank, b"h%d" % rank) for rank in [num_workers - 1, *range(num_workers - 1)]]


def test_workers_meet_by_ipv6_too():
    try:
        group = places(2, "::1")
    except OSError:
        pytest.skip("no IPv6 here")
    assert meet(group) == [(b"d1", b"h1"), (b"d0", b"h0")]


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_worker_never_listens_on_all_interfaces(host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip("no IPv6 here")
    with listener, pytest.raises(TrainingError, match="worker 0 listens on all interfaces, expected one address"):
        Rendezvous(0, [(host, 1)], SECRET, listener)


def test_a_worker_that_is_refused_listens_no_more(free_ports):
    [port] = free_ports(1)
    with pytest.raises(TrainingError, match="secret has 8 bytes") as refused:
        listen([("127.0.0.1", port)], rank=0, secret=bytes(8))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    assert refused.tb is not None  # its frames hold the socket: without closing, it would still be open


def test_nobody_listens_any_more_once_all_have_met():
    group = places(2)
    meet(group)
    for host, port in group[0].addresses:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, port), timeout=5)


def test_a_worker_that_starts_late_is_waited_for():
    first, second = places(2)
    second.listener.close()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(meet, [first])
        time.sleep(0.5)
        late = listen(second.addresses, rank=1, secret=SECRET)
        with connected(late, timeout_seconds=20) as neighbours:
            neighbours.to_next.send(b"d1")
            neighbours.beat_next.send(b"h1")
            assert waiting.result(timeout=20) == [(b"d1", b"h1")]


def test_workers_that_never_start_are_named_within_the_limit(until_answered):
    group = places(3)
    alone = group[1]
    group[2].listener.close()  # refuses; worker 0's kernel answers, and worker 0 does not
    started_seconds = time.monotonic()
    with until_answered():
        [error] = meet([alone], timeout_seconds=1.0)
    assert isinstance(error, ConnectionError)
    ports = [port for _, port in alone.addresses]
    assert str(error) == (
        f"worker 0 at 127.0.0.1:{ports[0]} and worker 2 at 127.0.0.1:{ports[2]} did not start within 1 s"
    )
    assert time.monotonic() - started_seconds < 5
    group[0].listener.close()


def test_a_group_of_another_secret_is_not_joined():
    first, second = places(2)
    other = Rendezvous(1, second.addresses, secrets.token_bytes(32), second.listener)
    assert [type(error) for error in meet([first, other], timeout_seconds=1.0)] == [ConnectionError] * 2


def test_a_worker_is_not_taken_for_another_of_its_group():
    """Worker 0 has the addresses of 1 and 2 the wrong way round: both have the secret, and 2 waits for 1."""
    first, second, third = places(3)
    addresses = [first.addresses[rank] for rank in (0, 2, 1)]
    confused = Rendezvous(0, addresses, SECRET, first.listener)
    second.listener.close()
    found = meet([confused, third], timeout_seconds=1.0)
    assert [str(error).partition(" at ")[0] for error in found] == ["worker 1", "worker 1"]


def test_every_connection_of_a_group_has_a_key_of_its_own():
    [place, other] = places(2)
    meeting = rendezvous._Meeting(place, ExitStack())
    keys = [
        meeting._key(purpose, rank, to) for purpose in rendezvous.PURPOSES for rank in range(12) for to in range(12)
    ]
    assert len(set(keys)) == len(keys) == 288
    for one in (place, other):
        one.listener.close()


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [b"d"],
        [b"GET / HTTP/1.1\r\n\r\n" * 10],
        [b"d" + bytes(NONCE_BYTES + PROOF_BYTES)],
        [b"x" + bytes(NONCE_BYTES + PROOF_BYTES)],
        [os.urandom(1 << 16)],
    ],
)
def test_a_stranger_gets_no_byte_and_holds_up_nobody(messages):
    group = places(3)
    with ThreadPoolExecutor(8) as threads:
        met = threads.submit(meet, group)
        strangers = [threads.submit(caught, place.addresses[place.rank], messages) for place in group]
        assert met.result(timeout=20) == [(b"d2", b"h2"), (b"d0", b"h0"), (b"d1", b"h1")]
        assert [stranger.result(timeout=20) for stranger in strangers] == [b""] * 3


def test_many_who_say_nothing_do_not_stall_the_start(monkeypatch):
    """Twice as many as are heard at a time, connected before the workers are."""
    monkeypatch.setattr(rendezvous, "STRANGER_TIMEOUT_SECONDS", 1.0)
    group = places(2)
    with ExitStack() as opened:
        for _ in range(2 * rendezvous.MAXIMUM_STRANGERS):
            opened.enter_context(socket.create_connection(group[0].addresses[0], timeout=5))
        assert meet(group) == [(b"d1", b"h1"), (b"d0", b"h0")]


def test_what_was_recorded_of_a_worker_does_not_let_another_in():
    """A man in the middle records a whole start, and plays worker 0's side of it to worker 1 of the same group."""
    group = places(2)
    addresses = group[0].addresses
    recorded: list[list[bytes]] = []

    def relay(listener: socket.socket, to: tuple[str, int]) -> None:
        """Pass both connections on to worker 1, and keep what worker 0 said."""
        for _ in range(2):
            incoming, _ = listener.accept()
            outgoing = socket.create_connection(to, timeout=20)
            said: list[bytes] = []
            recorded.append(said)

            def passed(source: socket.socket, sink: socket.socket, said: list[bytes]) -> None:
                try:
                    while part := source.recv(4096):
                        said.append(part)
                        sink.sendall(part)
                except OSError:
                    pass
                sink.close()

            threading.Thread(target=passed, args=(incoming, outgoing, said), daemon=True).start()
            threading.Thread(target=passed, args=(outgoing, incoming, []), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as middle:
        middle.settimeout(20)
        relaying = threading.Thread(target=relay, args=(middle, addresses[1]), daemon=True)
        relaying.start()
        deceived = Rendezvous(0, [addresses[0], middle.getsockname()], SECRET, group[0].listener)
        assert meet([deceived, group[1]]) == [(b"d1", b"h1"), (b"d0", b"h0")]
        relaying.join(timeout=20)
    lengths = [1 + NONCE_BYTES + PROOF_BYTES, PROOF_BYTES]
    assert all(len(b"".join(said)) >= sum(lengths) for said in recorded)

    again = [listen(addresses, rank=rank, secret=SECRET) for rank in range(2)]  # the same secret, as no group has it
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(meet, again[1:])
        answers = [caught(addresses[1], [b"".join(said)]) for said in recorded]
        assert meet(again[:1]) == [(b"d1", b"h1")]
        assert waiting.result(timeout=20) == [(b"d0", b"h0")], "worker 0 itself"
    assert {len(answer) for answer in answers} == {NONCE_BYTES + PROOF_BYTES}, "a new challenge, and nothing behind it"


def test_what_one_side_proves_can_not_be_turned_against_it():
    """A stranger answers with the caller's own words."""
    [first, second] = places(2)
    heard: list[int] = []

    def mirror() -> None:
        for _ in range(2):
            connection, _ = second.listener.accept()
            with connection:
                hello = connection.recv(1 + NONCE_BYTES + PROOF_BYTES, socket.MSG_WAITALL)
                connection.sendall(hello[1:])
                heard.append(len(connection.recv(4096)))

    mirroring = threading.Thread(target=mirror, daemon=True)
    mirroring.start()
    assert isinstance(meet([first], timeout_seconds=1.0)[0], ConnectionError)
    mirroring.join(timeout=20)
    assert heard == [0, 0]
    second.listener.close()


def test_proofs_are_hmacs_of_both_nonces():
    key, nonces = secrets.token_bytes(32), secrets.token_bytes(64)
    assert rendezvous._proof(key, b"joined", nonces) == hmac.new(key, b"joined" + nonces, "sha256").digest()


def test_a_short_secret_is_refused_and_none_is_ever_shown():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with pytest.raises(TrainingError, match="secret has 8 bytes, expected at least 16"):
            Rendezvous(0, [listener.getsockname()], bytes(8), listener)
        assert SECRET.hex() not in repr(place := Rendezvous(0, [listener.getsockname()], SECRET, listener))
        assert repr(SECRET) not in repr(place)
