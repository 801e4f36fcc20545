"""One process at a time: the second waits until the first has ended, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

log = structlog.get_logger()


@contextmanager
def locked(file: Path) -> Iterator[int]:
    """Hold the lock of that name for the length of the block; the system lets go of it when the process ends.

    Yields its file descriptor: a process that inherits it holds the lock, too.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            holder = stream.read().strip() or "unknown"
            log.info("another process works on the same files; waiting until it has ended", pid=holder)
            fcntl.flock(stream, fcntl.LOCK_EX)
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield stream.fileno()
