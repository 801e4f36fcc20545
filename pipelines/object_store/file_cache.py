"""Files of a storage kept on this node's disk, within a limit: what is needed latest goes first."""

import errno
import fcntl
import os
import shutil
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from headrace.components.errors import ServiceError
from headrace.components.files.atomic import replace_file

_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass
class _Kept:
    """A file that is here or comes, how many read it now, and when it is needed next."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    size_bytes: int = 0  # 0 until it is here
    readers: int = 0
    next_use: float = 0.0


class FileCache:
    """Files in a folder, at most `limit_bytes` of them, and beyond that those that are being read.

    The order of uses is known ahead, so the file that goes is the one that is needed latest (Belady, 1966). One process
    uses the folder at a time: another waits in the constructor until this one has ended. Files of before are removed.
    Methods may be called by several threads.
    """

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        self._folder, self._limit_bytes = folder, limit_bytes
        folder.mkdir(parents=True, exist_ok=True)
        owned = os.open(folder.with_name(f"{folder.name}.lock"), os.O_WRONLY | os.O_CREAT, 0o600)
        weakref.finalize(self, os.close, owned)
        fcntl.flock(owned, fcntl.LOCK_EX)  # given back by the system, however this process ends
        shutil.rmtree(folder)
        folder.mkdir()
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}

    @contextmanager
    def opened(self, name: str, *, next_use: float, fetch: Callable[[Path], None]) -> Iterator[Path]:
        """The file of that name for the length of the block; `fetch` writes it where it is not here.

        It is here whole or not at all. `next_use` is when it is needed again: any number that grows with time. Where
        the disk is full, what nobody reads is removed first. Raises ServiceError where that does not help, and what
        `fetch` raises.
        """
        with self._lock:
            kept = self._kept.setdefault(name, _Kept())
            kept.readers += 1
        try:
            with kept.lock:
                if not kept.size_bytes:
                    kept.size_bytes = self._fetched(name, fetch)
            yield self._folder / name
        finally:
            with self._lock:
                kept.readers -= 1
                kept.next_use = next_use
                self._make_room(self._limit_bytes)

    def _fetched(self, name: str, fetch: Callable[[Path], None]) -> int:
        """Fetch the file, and once more where the disk was full; its size."""
        try:
            return self._written(name, fetch)
        except (OSError, ServiceError) as error:
            if not _is_full(error):
                raise
        with self._lock:
            self._make_room(0)
        try:
            return self._written(name, fetch)
        except (OSError, ServiceError) as error:
            if not _is_full(error):
                raise
            free_bytes = shutil.disk_usage(self._folder).free
            raise ServiceError(
                f"no room for {name} in {self._folder}: {free_bytes} bytes are free on that disk; free some, let "
                "TMPDIR of this node name a folder on a larger disk, or lower train.data_cache_bytes"
            ) from error

    def _written(self, name: str, fetch: Callable[[Path], None]) -> int:
        with replace_file(self._folder / name) as temporary:
            fetch(temporary)
        return (self._folder / name).stat().st_size

    def _make_room(self, limit_bytes: int) -> None:
        """Remove files that nobody reads until the others are within the limit, or none is left."""
        total_bytes = sum(one.size_bytes for one in self._kept.values())
        unread = sorted((one.next_use, name) for name, one in self._kept.items() if not one.readers)
        while unread and total_bytes > limit_bytes:
            _, name = unread.pop()
            (self._folder / name).unlink(missing_ok=True)
            total_bytes -= self._kept.pop(name).size_bytes


def _is_full(error: Exception) -> bool:
    causes = (error, error.__cause__)
    return any(isinstance(one, OSError) and one.errno in _FULL for one in causes)
