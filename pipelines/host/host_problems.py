"""What the machine lacks: room on a disk, permission, memory, file descriptors. Not a bug, so it needs no traceback."""

import errno
import os
import re
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

from headrace.components.errors import ServiceError

LEAST_ADDRESS_BYTES = 5 << 29  # 2.5 GiB: with less, the import of TensorFlow and Keras fails in many ways
LEAST_FILES = 128  # Ray's servers have 74 open with two workers
_LACKING = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,  # `ulimit -f`
    errno.EIO,
    errno.ENOMEM,
    errno.EMFILE,
    errno.ENFILE,
    errno.EAGAIN,  # no more processes or threads
}
NO_ROOM = os.strerror(errno.ENOSPC)
READ_ONLY = os.strerror(errno.EROFS)
_OUT_OF_MEMORY = "out of memory"
_FULL_BYTES = 1 << 16  # less than this is left on a disk that a program has found full
# Of libraries that give no errno: what they print, and what it means.
_PHRASES = {
    **{os.strerror(number): os.strerror(number) for number in _LACKING - {errno.EPERM, errno.EAGAIN}},
    "database or disk is full": NO_ROOM,  # SQLite
    "disk I/O error": "disk I/O error",
    "attempt to write a readonly database": "read-only database",
    "can't start new thread": "no more threads",
    "std::bad_alloc": _OUT_OF_MEMORY,
    "OOM when allocating": _OUT_OF_MEMORY,  # TensorFlow
    "failed to allocate memory": _OUT_OF_MEMORY,
    "MemoryError": _OUT_OF_MEMORY,
    "OutOfMemoryError": _OUT_OF_MEMORY,  # Ray
}
_ADVICE = "; `headrace doctor` says how to fix it"
_MEMORY_ADVICE = "; free some, give the process more, or lower train.global_batch_size"


def host_problem(error: BaseException | None) -> str | None:
    """The resource that the machine lacks, and where, in one line; None if the error is about something else.

    Libraries wrap the system's errors in their own: causes are searched, too.
    """
    for one in _chain(error):
        if (problem := _problem_of(one)) is not None:
            return problem
    return None


def host_problem_in(text: str) -> str | None:
    """The resource that the machine lacks by a program's output, in one line; None if it names none."""
    for line in text.splitlines():
        for phrase, problem in _PHRASES.items():
            if phrase in line:
                _, _, place = line.partition(f"{phrase}: ")
                return _line(problem, f": {place}" if place else "")
    return None


def is_full(folder: Path) -> bool:
    """Whether the disk of a folder has no room: then programs fail in ways that do not say so."""
    return folder.is_dir() and shutil.disk_usage(folder).free < _FULL_BYTES


def require_addresses() -> None:
    """Raise ServiceError where TensorFlow can't be loaded in the memory that this process may have (`ulimit -v`).

    It would abort, or leave a lock of Python's imports taken, for which the process then waits for ever.
    """
    least, (found, _) = LEAST_ADDRESS_BYTES, resource.getrlimit(resource.RLIMIT_AS)
    if found != resource.RLIM_INFINITY and found < least:
        limits = f"a process may have {found / 2**30:.1f} GiB of addresses, TensorFlow needs {least / 2**30:.1f}"
        raise ServiceError(f"{_OUT_OF_MEMORY}: {limits}; `ulimit -v unlimited`")


def require_files() -> None:
    """Raise ServiceError where this process may open too few files (`ulimit -n`) for Ray, which would end untold."""
    found, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if found != resource.RLIM_INFINITY and found < LEAST_FILES:
        limits = f"a process may open {found}, Ray needs {LEAST_FILES}"
        raise ServiceError(f"{os.strerror(errno.EMFILE)}: {limits}; `ulimit -n 1024`")


def is_read_only(folder: Path) -> bool:
    """Whether the file system of a folder is read-only: SQLite then says that it can't open a file."""
    return folder.is_dir() and bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the machine lacks memory."""
    problem = host_problem(error)
    return problem is not None and problem.startswith((_OUT_OF_MEMORY, os.strerror(errno.ENOMEM)))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _problem_of(error: BaseException) -> str | None:
    if isinstance(error, MemoryError):
        return _line(_OUT_OF_MEMORY, "")
    if isinstance(error, OSError) and error.errno is not None:
        place = f": {error.filename}" if error.filename else ""
        return _line(os.strerror(error.errno), place) if error.errno in _LACKING else None
    text = f"{type(error).__name__}: {error}"
    if found := re.search(r"\(os error (\d+)\)(.*)", text):  # what Polars makes of an OSError
        return _line(os.strerror(int(found[1])), found[2]) if int(found[1]) in _LACKING else None
    return host_problem_in(text)


def _line(problem: str, place: str) -> str:
    is_memory = problem in (_OUT_OF_MEMORY, os.strerror(errno.ENOMEM))
    return f"{problem}{place}{_MEMORY_ADVICE if is_memory else _ADVICE}"
