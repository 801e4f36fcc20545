"""Folders and files that only their owner may enter or read."""

import stat
from contextlib import suppress
from pathlib import Path

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


def open_to_others(path: Path, permissions: int = ANY) -> bool:
    """True where others have any of these permissions, and may pass all folders above."""
    if not path.stat().st_mode & permissions:
        return False
    return all(folder.stat().st_mode & (stat.S_IXGRP | stat.S_IXOTH) for folder in path.resolve().parents)
