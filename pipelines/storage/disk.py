"""A disk that is full or may not be written to: the person's to mend, so no traceback."""

import errno
import os
import re

_MENDABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)


def disk_problem(error: Exception) -> str | None:
    """Return what is wrong with the disk, and where, in one line; None if the error is about something else."""
    if isinstance(error, OSError) and error.errno in _MENDABLE:
        return _told(error.errno, f": {error.filename}" if error.filename else "")
    line = str(error).splitlines()[0] if str(error) else ""
    if found := re.search(r"\(os error (\d+)\)(.*)", line):  # what Polars makes of an OSError
        return _told(int(found[1]), found[2]) if int(found[1]) in _MENDABLE else None
    return None


def _told(number: int, where: str) -> str:
    return f"{os.strerror(number)}{where}; `headrace doctor` says how to mend it"
