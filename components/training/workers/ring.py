"""Sums over all workers along a ring of TCP connections, for workers without a GPU.

TensorFlow's own exchange between hosts packs every piece into two protocol buffers and a gRPC message, and copies it
about eight times. Here the kernel copies, and nothing else does: bench/README.md has the figures.

An element is summed on one worker and copied to the others, so all have the same bits. Each worker sends
2 * (num_workers - 1) / num_workers of the bytes, the fewest there can be (Patarasuk and Yuan, 2009).
"""

import secrets
import select
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.eager import context

from components.training.workers.group import gather_figures

Compression = Literal["none", "bfloat16"]
WIRE_TYPES: dict[Compression, Any] = {"none": np.float32, "bfloat16": tf.bfloat16.as_numpy_dtype}
CONNECT_TIMEOUT_SECONDS = 60.0
SILENCE_SECONDS = 5.0
ANSWER_TIMEOUT_SECONDS = 10.0
ALIGNED_BYTES = 64


class Ring:
    """The connections of one worker: one to the next rank, one from the rank before."""

    def __init__(
        self,
        to_next: socket.socket,
        from_previous: socket.socket,
        *,
        rank: int,
        num_workers: int,
        compression: Compression = "none",
    ) -> None:
        self._to_next, self._from_previous = to_next, from_previous
        self._rank, self._num_workers = rank, num_workers
        self._wire_type = np.dtype(WIRE_TYPES[compression])
        for connection in (to_next, from_previous):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)

    def add(self, values: NDArray[np.float32], *, exact: bool = False) -> NDArray[np.float32]:
        """Return the sums over all workers of `values`, float32[n]; every worker calls it with the same `n`.

        Sums are made in float32. Unless they are to be `exact`, what is sent is rounded where the ring compresses.
        Raises ConnectionError, "lost worker R", if a neighbour ended, or neither sends nor answers any more.
        """
        rank, num_workers = self._rank, self._num_workers
        wire_type = np.dtype(np.float32) if exact else self._wire_type
        total = _room(values.size)
        own, parts = np.array_split(values, num_workers), np.array_split(total, num_workers)
        packed = own[rank].astype(wire_type, copy=False)
        for place in ((rank - step) % num_workers for step in range(1, num_workers)):
            np.add(self._swap(packed, parts[place]), own[place], out=parts[place])
            packed = parts[place].astype(wire_type, copy=False)
        _unpack(packed, parts[(rank + 1) % num_workers])  # what the others get of this sum, this worker uses too
        for place in ((rank - step) % num_workers for step in range(num_workers - 1)):
            packed = self._swap(packed, parts[place])
            _unpack(packed, parts[place])
        return total

    def _swap(self, packed: NDArray[Any], part: NDArray[np.float32]) -> NDArray[Any]:
        """Send `packed` to the next worker; return what the previous one sends for `part`, in `part` if it fits."""
        received = part if packed.dtype == part.dtype else np.empty(part.shape, packed.dtype)
        unsent, missing = packed.view(np.uint8), received.view(np.uint8)
        while unsent.size or missing.size:
            sent, got = self._send(unsent), self._receive(missing)
            unsent, missing = unsent[sent:], missing[got:]
            if not (sent or got):
                self._wait(to_send=unsent.size > 0, to_receive=missing.size > 0)
        return received

    def _send(self, data: NDArray[np.uint8]) -> int:
        try:
            return self._to_next.send(data.data) if data.size else 0
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._lost(+1, error) from error

    def _receive(self, room: NDArray[np.uint8]) -> int:
        try:
            got = self._from_previous.recv_into(room.data) if room.size else 0
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._lost(-1, error) from error
        if room.size and not got:
            raise self._lost(-1, "it closed the connection")
        return got

    def _wait(self, *, to_send: bool, to_receive: bool) -> None:
        """Wait for a neighbour; from time to time ask whether it still runs, because its kernel answers for it."""
        waiting = select.poll()
        if to_send:
            waiting.register(self._to_next, select.POLLOUT)
        if to_receive:
            waiting.register(self._from_previous, select.POLLIN)
        while not waiting.poll(SILENCE_SECONDS * 1000):
            for offset in (+1, -1):
                self._require_alive(offset)

    def _require_alive(self, offset: int) -> None:
        """A slow worker's TensorFlow still answers; that of a stopped process or a lost host does not."""
        task = f"/job:worker/replica:0/task:{(self._rank + offset) % self._num_workers}"
        try:
            context.context().check_collective_ops_peer_health(task, timeout_in_ms=int(ANSWER_TIMEOUT_SECONDS * 1000))
        except tf.errors.OpError as error:
            raise self._lost(offset, error.message) from error

    def _lost(self, offset: int, reason: Any) -> ConnectionError:
        return ConnectionError(f"lost worker {(self._rank + offset) % self._num_workers}: {reason}")


@contextmanager
def connected(strategy: tf.distribute.Strategy, *, compression: Compression = "none") -> Iterator[Ring | None]:
    """Give this worker's ring, or None where TensorFlow's own exchange is the right one: one worker, or GPUs (NCCL).

    Every worker calls it, outside of any `tf.function`. "bfloat16" halves what gradients take on the network; it pays
    where that, and not the processor, is the limit. Raises OSError if the neighbours can't be reached.
    """
    if strategy.num_replicas_in_sync == 1 or tf.config.list_logical_devices("GPU"):
        yield None
        return
    addresses = strategy.cluster_resolver.cluster_spec().job_tasks("worker")
    hosts, rank = [address.rpartition(":")[0].strip("[]") for address in addresses], strategy.cluster_resolver.task_id
    with _listener(hosts[rank]) as listener:
        key = secrets.randbits(48)  # a float64 holds it exactly
        doors = gather_figures(strategy, [listener.getsockname()[1], key])
        to_next = _knock(hosts, doors, (rank + 1) % len(hosts))
        from_previous = _answer(listener, key)
    with to_next, from_previous:
        yield Ring(to_next, from_previous, rank=rank, num_workers=len(hosts), compression=compression)


def _listener(host: str) -> socket.socket:
    listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.settimeout(CONNECT_TIMEOUT_SECONDS)
    return listener


def _knock(hosts: Sequence[str], doors: NDArray[np.float64], rank: int) -> socket.socket:
    """A connection to worker `rank`, which is told its own key: whatever else connects to it does not know that."""
    port, key = (int(value) for value in doors[rank])
    connection = socket.create_connection((hosts[rank], port), timeout=CONNECT_TIMEOUT_SECONDS)
    connection.sendall(key.to_bytes(8, "big"))
    return connection


def _answer(listener: socket.socket, key: int) -> socket.socket:
    """The first connection that brings `key`."""
    while True:
        connection, _ = listener.accept()
        connection.settimeout(ANSWER_TIMEOUT_SECONDS)
        with suppress(OSError):
            if connection.recv(8, socket.MSG_WAITALL) == key.to_bytes(8, "big"):
                return connection
        connection.close()


def _room(size: int) -> NDArray[np.float32]:
    """Uninitialized float32[size], aligned so that TensorFlow takes it as it is; it would copy any other."""
    room = np.empty(size + ALIGNED_BYTES // 4, np.float32)
    first = -room.ctypes.data % ALIGNED_BYTES // 4
    return room[first : first + size]


def _unpack(packed: NDArray[Any], part: NDArray[np.float32]) -> None:
    if packed is not part:
        part[...] = packed
