"""Folders and files that only their owner may enter or read."""

import stat
from contextlib import suppress
from pathlib import Path

OF_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_private(folder: Path) -> None:
    """Make the folder, or close it to everybody but its owner.

    One that can't be closed stays as it is: it is another user's, or its file system is read-only. `headrace doctor`
    reports it.
    """
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        if open_to_others(folder):
            folder.chmod(0o700)


def open_to_others(path: Path) -> int:
    """The permission bits that group and others have; 0 where only the owner has any."""
    return path.stat().st_mode & OF_OTHERS
