"""Whether the neighbours on the ring still run: a thread of each worker sends a byte each second and reads theirs.

The kernel answers for a stopped process; this thread does not. It runs beside a step, however long that takes.
"""

import math
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

BEAT_SECONDS = 1.0
# Beats of this worker's own, not seconds of the clock: after a pause of the whole machine nobody is lost.
MAXIMUM_SILENT_BEATS = 20


class Heartbeat:
    """Beats to the neighbours, and listens to theirs; `connections` are non-blocking, by offset along the ring.

    A neighbour's first beat may take `start_timeout_seconds`: it waits for neighbours of its own.
    """

    def __init__(
        self,
        connections: Mapping[int, socket.socket],
        *,
        start_timeout_seconds: float = 0.0,
        beat_seconds: float = BEAT_SECONDS,
    ) -> None:
        self.beat_seconds = beat_seconds
        self._connections = connections
        self._silent_beats = dict.fromkeys(connections, -math.ceil(start_timeout_seconds / beat_seconds))
        self._ended: dict[int, str] = {}
        self._is_over = threading.Event()

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Beat for the length of the block."""
        thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            thread.join()

    def lost(self, offset: int) -> str | None:
        """Why the neighbour at `offset` must be taken for lost; None while it runs."""
        if reason := self._ended.get(offset):
            return reason
        if self._silent_beats[offset] >= MAXIMUM_SILENT_BEATS:
            return f"no heartbeat for {MAXIMUM_SILENT_BEATS * self.beat_seconds:g} s"
        return None

    def _beat(self) -> None:
        while True:  # the first beat comes at once
            for offset, connection in self._connections.items():
                if offset not in self._ended:
                    self._exchange(offset, connection)
            if self._is_over.wait(self.beat_seconds):
                return

    def _exchange(self, offset: int, connection: socket.socket) -> None:
        try:
            with suppress(BlockingIOError):  # a stopped process reads nothing
                connection.send(b".")
            heard = connection.recv(4096)
        except BlockingIOError:
            self._silent_beats[offset] += 1
        except OSError as error:
            self._ended[offset] = str(error)
        else:
            self._silent_beats[offset] = 0
            if not heard:
                self._ended[offset] = "it closed the connection"
