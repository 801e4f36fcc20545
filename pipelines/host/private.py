"""Folders and files that only their owner may enter or read."""

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from headrace.components.errors import ServiceError

ANY = stat.S_IRWXG | stat.S_IRWXO
WRITE = stat.S_IWOTH


def make_private(folder: Path) -> None:
    """Make the folder, or close it to everybody but its owner.

    One that can't be closed stays as it is: it is another user's, or its file system is read-only. `headrace doctor`
    reports it.
    """
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_mode & ANY:
            folder.chmod(0o700)


def temporary_folder() -> Path:
    """The user's own folder among the temporary files, made and closed to others.

    Raises ServiceError where another user has made one of its name: what is in it would be their choice.
    """
    folder = Path(tempfile.gettempdir()) / f"headrace-{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise ServiceError(f"{folder} is another user's or a link: remove it, or set TMPDIR to a folder of your own")
    folder.chmod(0o700)
    return folder


def open_to_others(path: Path, permissions: int = ANY) -> bool:
    """True where others have any of these permissions, and may pass all folders above."""
    if not path.stat().st_mode & permissions:
        return False
    return all(folder.stat().st_mode & (stat.S_IXGRP | stat.S_IXOTH) for folder in path.resolve().parents)
