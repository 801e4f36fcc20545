"""Files of people, opened only if they are files: a pipe would be waited for, a device has no end."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from headrace.components.errors import DataError

_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def require_regular(path: str | Path) -> None:
    """Raise DataError for a pipe, a socket or a device, also at the end of a link; nothing where there is nothing."""
    with suppress(FileNotFoundError):
        _check(os.stat(path).st_mode, path)  # noqa: PTH116 - faster


def open_regular(path: str, flags: int) -> int:
    """Opener for `open()` that refuses what `require_regular` does, whatever takes the path's place meanwhile."""
    require_regular(path)
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    try:
        _check(os.fstat(descriptor).st_mode, path)
    except DataError:
        os.close(descriptor)
        raise
    return descriptor


def _check(mode: int, path: str | Path) -> None:
    if kind := _KINDS.get(stat.S_IFMT(mode)):
        raise DataError(f"can't read {path}: it is {kind}, expected a file")
