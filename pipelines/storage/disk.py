"""A disk that is full or may not be written to: the person's to mend, so no traceback."""

import errno
import os

_MENDABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)


def disk_problem(error: Exception) -> str | None:
    """Return what is wrong with the disk, and where, in one line; None if the error is about something else."""
    if isinstance(error, OSError) and error.errno in _MENDABLE:
        where = f": {error.filename}" if error.filename else ""
        return f"{os.strerror(error.errno)}{where}; `headrace doctor` says how to mend it"
    if "(os error " in (text := str(error).splitlines()[0] if str(error) else ""):  # what Polars makes of an OSError
        number = int(text.rpartition("(os error ")[2].partition(")")[0])
        return f"{text}; `headrace doctor` says how to mend it" if number in _MENDABLE else None
    return None
