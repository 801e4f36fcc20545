"""How the workers of a group find each other: each connects to the next rank, and both prove that they belong to it.

The proof is a challenge and response by HMAC-SHA256 with the group's secret, which itself is never sent. A peer
without it gets no byte: the side that connects proves first that it knows the secret, then that it is not a replay.
What is sent afterwards is neither encrypted nor signed.
"""

import asyncio
import hmac
import secrets
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from headrace.components.errors import TrainingError

Address = tuple[str, int]  # host and port

MINIMUM_SECRET_BYTES = 16
NONCE_BYTES = PROOF_BYTES = 32
PURPOSES = DATA, HEARTBEAT = b"d", b"h"  # of a connection
RETRY_SECONDS = 0.05
STRANGER_TIMEOUT_SECONDS = 10.0  # for a peer that connects to prove that it belongs to the group
MAXIMUM_STRANGERS = 64  # at a time; others wait in the kernel's queue


@dataclass(frozen=True)
class Rendezvous:
    """One worker's place in a group.

    All workers have the same `addresses`, one for each worker in the order of ranks, and the same `secret`; `listener`
    listens at this worker's own address.
    """

    rank: int
    addresses: Sequence[Address]
    secret: bytes = field(repr=False)
    listener: socket.socket = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.secret) < MINIMUM_SECRET_BYTES:
            raise TrainingError(
                f"the group's secret has {len(self.secret)} bytes, expected at least {MINIMUM_SECRET_BYTES}; make it "
                "with secrets.token_bytes(32)"
            )
        if self.listener.getsockname()[0] in ("0.0.0.0", "::"):  # noqa: S104
            raise TrainingError(
                f"worker {self.rank} listens on all interfaces, expected one address; listen on 127.0.0.1, or on the "
                "address that the other nodes know"
            )

    @property
    def num_workers(self) -> int:
        """The number of workers of the group."""
        return len(self.addresses)

    def neighbour(self, offset: int) -> int:
        """The rank `offset` places further along the ring."""
        return (self.rank + offset) % self.num_workers


class Neighbours(NamedTuple):
    """Non-blocking connections: of data, one way around the ring, and of heartbeats, to both sides."""

    to_next: socket.socket
    from_previous: socket.socket
    beat_next: socket.socket
    beat_previous: socket.socket


def listen(addresses: Sequence[Address], *, rank: int, secret: bytes) -> Rendezvous:
    """Listen at this worker's address of `addresses`.

    Raises OSError where it can't, TrainingError for an address that means all interfaces and for a short secret.
    """
    with ExitStack() as attempt:
        listener = attempt.enter_context(socket.create_server(addresses[rank], family=_family(addresses[rank][0])))
        place = Rendezvous(rank, addresses, secret, listener)
        attempt.pop_all()
    return place


@contextmanager
def connected(rendezvous: Rendezvous, *, timeout_seconds: float) -> Iterator[Neighbours]:
    """Connections to both neighbours, closed at the end of the block; the listener is closed as soon as they are made.

    Every worker calls it, outside of an event loop. Raises ConnectionError with the ranks that did not answer within
    the limit.
    """
    with ExitStack() as opened:
        with rendezvous.listener:
            meeting = _Meeting(rendezvous, opened)
            asyncio.run(meeting.hold(timeout_seconds))
        yield Neighbours(
            meeting.outgoing[DATA], meeting.incoming[DATA], meeting.outgoing[HEARTBEAT], meeting.incoming[HEARTBEAT]
        )


class _Meeting:
    """The connections of one worker as they are made; `opened` closes those that belong to the group."""

    def __init__(self, rendezvous: Rendezvous, opened: ExitStack) -> None:
        self._rendezvous, self._opened = rendezvous, opened
        self.outgoing: dict[bytes, socket.socket] = {}
        self.incoming: dict[bytes, socket.socket] = {}
        self._is_complete = asyncio.Event()

    async def hold(self, timeout_seconds: float) -> None:
        self._rendezvous.listener.setblocking(False)
        try:
            async with asyncio.timeout(timeout_seconds), asyncio.TaskGroup() as tasks:
                accepting = tasks.create_task(self._accept())
                for purpose in PURPOSES:
                    tasks.create_task(self._connect(purpose))
                await self._is_complete.wait()
                accepting.cancel()
        except TimeoutError as error:
            raise ConnectionError(self._missing(timeout_seconds)) from error

    def _missing(self, timeout_seconds: float) -> str:
        sides = {+1: self.outgoing, -1: self.incoming}
        ranks = sorted({self._rendezvous.neighbour(offset) for offset, made in sides.items() if len(made) < 2})
        places = ("worker {} at {}:{}".format(rank, *self._rendezvous.addresses[rank]) for rank in ranks)
        return f"{' and '.join(places)} did not start within {timeout_seconds:g} s"

    async def _connect(self, purpose: bytes) -> None:
        """Connect to the next worker, again and again until it is there."""
        rank, to = self._rendezvous.rank, self._rendezvous.neighbour(+1)
        address = self._rendezvous.addresses[to]
        while True:
            with suppress(OSError), ExitStack() as attempt:
                connection = attempt.enter_context(socket.socket(_family(address[0])))
                connection.setblocking(False)
                await asyncio.get_running_loop().sock_connect(connection, address)
                await _introduce(connection, self._key(purpose, rank, to), purpose)
                return self._keep(self.outgoing, purpose, connection, attempt)
            await asyncio.sleep(RETRY_SECONDS)

    async def _accept(self) -> None:
        """Hear everybody who connects, several at a time, so that one who says nothing holds up nobody."""
        limit = asyncio.Semaphore(MAXIMUM_STRANGERS)

        async def hear(stranger: socket.socket, attempt: ExitStack) -> None:
            try:
                await self._hear(stranger, attempt)
            finally:
                limit.release()

        with ExitStack() as leaving:
            async with asyncio.TaskGroup() as strangers:
                while True:
                    await limit.acquire()
                    try:
                        stranger, _ = await _accept_one(self._rendezvous.listener)
                    except OSError:  # what a stranger did to the connection, or too many open files
                        limit.release()
                        await asyncio.sleep(RETRY_SECONDS)
                    else:
                        attempt = ExitStack()
                        leaving.callback(attempt.close)  # a task that is cancelled before it begins closes nothing
                        strangers.create_task(hear(attempt.enter_context(stranger), attempt))

    async def _hear(self, stranger: socket.socket, attempt: ExitStack) -> None:
        previous, rank = self._rendezvous.neighbour(-1), self._rendezvous.rank
        keys = {purpose: self._key(purpose, previous, rank) for purpose in PURPOSES}
        with suppress(OSError), attempt:  # a TimeoutError is one, too
            async with asyncio.timeout(STRANGER_TIMEOUT_SECONDS):
                purpose = await _examine(stranger, keys)
            self._keep(self.incoming, purpose, stranger, attempt)

    def _keep(
        self, side: dict[bytes, socket.socket], purpose: bytes, connection: socket.socket, attempt: ExitStack
    ) -> None:
        side[purpose] = connection
        self._opened.enter_context(attempt.pop_all())
        if len(self.outgoing) == len(self.incoming) == len(PURPOSES):
            self._is_complete.set()

    def _key(self, purpose: bytes, rank: int, to: int) -> bytes:
        """The key of one connection: what was said on another proves nothing here."""
        return hmac.digest(self._rendezvous.secret, b"%s %d %d" % (purpose, rank, to), "sha256")


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


async def _accept_one(listener: socket.socket) -> tuple[socket.socket, Any]:
    """The next connection, non-blocking, and its address.

    Not by `loop.sock_accept`: cancelled at the moment somebody connects, it would lose the connection unclosed.
    """
    loop, arrived = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(listener, arrived.set)
    try:
        await arrived.wait()
    finally:
        loop.remove_reader(listener)
    connection, address = listener.accept()
    connection.setblocking(False)
    return connection, address


async def _introduce(connection: socket.socket, key: bytes, purpose: bytes) -> None:
    """Prove to the worker that was called that this one has the key, and have it prove the same."""
    loop, own = asyncio.get_running_loop(), secrets.token_bytes(NONCE_BYTES)
    await loop.sock_sendall(connection, purpose + own + _proof(key, b"hello", own))
    other, proof = _parts(await _receive(connection, NONCE_BYTES + PROOF_BYTES))
    _require_proof(proof, key, b"welcome", own + other)
    await loop.sock_sendall(connection, _proof(key, b"joined", own + other))


async def _examine(connection: socket.socket, keys: dict[bytes, bytes]) -> bytes:
    """The purpose of a connection, once the caller has proved that it has that connection's key."""
    loop, own = asyncio.get_running_loop(), secrets.token_bytes(NONCE_BYTES)
    purpose = await _receive(connection, 1)
    key = keys.get(purpose)
    if key is None:
        raise ConnectionError("not of this group")
    other, proof = _parts(await _receive(connection, NONCE_BYTES + PROOF_BYTES))
    _require_proof(proof, key, b"hello", other)
    await loop.sock_sendall(connection, own + _proof(key, b"welcome", other + own))
    _require_proof(await _receive(connection, PROOF_BYTES), key, b"joined", other + own)
    return purpose


def _parts(message: bytes) -> tuple[bytes, bytes]:
    return message[:NONCE_BYTES], message[NONCE_BYTES:]


def _proof(key: bytes, step: bytes, nonces: bytes) -> bytes:
    return hmac.digest(key, step + nonces, "sha256")


def _require_proof(proof: bytes, key: bytes, step: bytes, nonces: bytes) -> None:
    if not hmac.compare_digest(proof, _proof(key, step, nonces)):
        raise ConnectionError("not of this group")


async def _receive(connection: socket.socket, size_bytes: int) -> bytes:
    loop, received = asyncio.get_running_loop(), b""
    while len(received) < size_bytes:
        part = await loop.sock_recv(connection, size_bytes - len(received))
        if not part:
            raise ConnectionError("closed")
        received += part
    return received
