"""Sums over all workers along a ring of TCP connections, for workers without a GPU.

TensorFlow's own exchange between hosts packs every piece into two protocol buffers and a gRPC message, and copies it
about eight times. Here the kernel copies, and nothing else does: bench/README.md has the figures.

An element is summed on one worker and copied to the others, so all have the same bits. Each worker sends
2 * (num_workers - 1) / num_workers of the bytes, the fewest there can be (Patarasuk and Yuan, 2009).
"""

import select
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from headrace.components.training.workers.heartbeat import Heartbeat
from headrace.components.training.workers.rendezvous import Neighbours, Rendezvous, connected

Compression = Literal["none", "bfloat16"]
WIRE_TYPES: dict[Compression, Any] = {"none": np.float32, "bfloat16": tf.bfloat16.as_numpy_dtype}
ALIGNED_BYTES = 64


class Ring:
    """One worker's connections to the next rank and from the rank before, and what all workers exchange along them.

    Every worker calls each of the methods, in the same order and with values of the same type.
    """

    def __init__(
        self,
        neighbours: Neighbours,
        heartbeat: Heartbeat,
        *,
        rank: int,
        num_workers: int,
        compression: Compression = "none",
    ) -> None:
        self.rank, self.num_workers = rank, num_workers
        self.strategy = tf.distribute.get_strategy()  # TensorFlow's default: each worker is a program of its own
        self._to_next, self._from_previous, self._heartbeat = neighbours.to_next, neighbours.from_previous, heartbeat
        self._wire_type = np.dtype(WIRE_TYPES[compression])
        for connection in (self._to_next, self._from_previous):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def sum(self, vector: tf.Tensor, *, exact: bool = False) -> tf.Tensor:
        """The sums over all workers of `vector`, float32[n], within a step; its gradient is that of all losses."""

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def summed(values: tf.Tensor) -> Any:
            total = tf.numpy_function(partial(self.add, exact=exact), [values], tf.float32)
            return tf.ensure_shape(total, vector.shape), partial(self.sum, exact=True)

        return summed(vector)

    def gather_rows(self, tensors: Sequence[tf.Tensor]) -> tuple[list[tf.Tensor], tf.Tensor]:
        """The rows of all workers of each tensor, within a step, and where this worker's begin, int64[tensors]."""
        types = [*(tensor.dtype for tensor in tensors), tf.int64]
        *gathered, first_rows = tf.numpy_function(self._gather_each, tensors, types)
        shaped = [
            tf.ensure_shape(rows, [None, *tensor.shape[1:]]) for rows, tensor in zip(gathered, tensors, strict=True)
        ]
        return shaped, tf.ensure_shape(first_rows, [len(tensors)])

    def gather(self, rows: NDArray[Any]) -> NDArray[Any]:
        """The rows of all workers, in the order of ranks; they may differ in number, not in shape or type.

        Raises ConnectionError as `add` does.
        """
        gathered, _ = self._gather_each(rows)
        return gathered

    def _gather_each(self, *own: NDArray[Any]) -> list[NDArray[Any]]:
        """The rows of all workers of each array, and last where this worker's begin."""
        counts = np.zeros((self.num_workers, len(own)), np.int64)
        counts[self.rank] = [len(rows) for rows in own]
        self._pass_round(counts)
        gathered = []
        for rows, of_each_worker in zip(own, counts.T, strict=True):
            room = np.empty((of_each_worker.sum(), *rows.shape[1:]), rows.dtype)
            parts = np.split(room, np.cumsum(of_each_worker)[:-1])
            parts[self.rank][...] = rows
            self._pass_round(parts)
            gathered.append(room)
        return [*gathered, counts[: self.rank].sum(axis=0)]

    def _pass_round(self, parts: Sequence[NDArray[Any]] | NDArray[Any]) -> None:
        """Fill the parts of the other workers; each has its own."""
        for place in ((self.rank - step) % self.num_workers for step in range(self.num_workers - 1)):
            self._swap(parts[place], parts[place - 1])

    def add(self, values: NDArray[np.float32], *, exact: bool = False) -> NDArray[np.float32]:
        """Return the sums over all workers of `values`, float32[n]; every worker calls it with the same `n`.

        Sums are made in float32. Unless they are to be `exact`, what is sent is rounded where the ring compresses.
        Raises ConnectionError, "lost worker R", if a neighbour ended, or neither sends nor answers any more.
        """
        rank, num_workers = self.rank, self.num_workers
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

    def _swap(self, packed: NDArray[Any], part: NDArray[Any]) -> NDArray[Any]:
        """Send `packed` to the next worker; return what the previous one sends for `part`, in `part` if it fits."""
        received = part if packed.dtype == part.dtype else np.empty(part.shape, packed.dtype)
        unsent, missing = packed.reshape(-1).view(np.uint8), received.reshape(-1).view(np.uint8)
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
        """Wait for a neighbour as long as it lives: the kernel answers for a stopped process, the heartbeat doesn't."""
        waiting = select.poll()
        if to_send:
            waiting.register(self._to_next, select.POLLOUT)
        if to_receive:
            waiting.register(self._from_previous, select.POLLIN)
        while not waiting.poll(self._heartbeat.beat_seconds * 1000):
            for offset in (+1, -1):
                if reason := self._heartbeat.lost(offset):
                    raise self._lost(offset, reason)

    def _lost(self, offset: int, reason: Any) -> ConnectionError:
        return ConnectionError(f"lost worker {(self.rank + offset) % self.num_workers}: {reason}")


@contextmanager
def ring_of(rendezvous: Rendezvous, *, timeout_seconds: float, compression: Compression = "none") -> Iterator[Ring]:
    """The ring of this worker, once both neighbours are there.

    "bfloat16" halves what gradients take on the network; it pays where that, and not the processor, is the limit.
    Raises ConnectionError if a neighbour does not start within the limit.
    """
    with connected(rendezvous, timeout_seconds=timeout_seconds) as neighbours:
        heartbeat = Heartbeat(
            {+1: neighbours.beat_next, -1: neighbours.beat_previous}, start_timeout_seconds=timeout_seconds
        )
        with heartbeat.beating():
            yield Ring(
                neighbours,
                heartbeat,
                rank=rendezvous.rank,
                num_workers=rendezvous.num_workers,
                compression=compression,
            )


def _room(size: int) -> NDArray[np.float32]:
    """Uninitialized float32[size], aligned so that TensorFlow takes it as it is; it would copy any other."""
    room = np.empty(size + ALIGNED_BYTES // 4, np.float32)
    first = -room.ctypes.data % ALIGNED_BYTES // 4
    return room[first : first + size]


def _unpack(packed: NDArray[Any], part: NDArray[np.float32]) -> None:
    if packed is not part:
        part[...] = packed
