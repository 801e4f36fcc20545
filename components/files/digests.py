"""Digests of what files hold, in hexadecimal digits."""

import hashlib
from pathlib import Path
from typing import IO


def file_digest(file: Path, algorithm: str = "sha256") -> str:
    """Digest of a file's content; raises OSError where it can't be read."""
    with file.open("rb") as stream:
        return stream_digest(stream, algorithm)


def content_digest(path: Path) -> str:
    """SHA-256 of a file, or of all files of a folder with their paths in it."""
    if not path.is_dir():
        return file_digest(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    digests = [(file.relative_to(path).as_posix(), file_digest(file)) for file in files]
    return hashlib.sha256(repr(digests).encode()).hexdigest()


def stream_digest(stream: IO[bytes], algorithm: str = "sha256") -> str:
    """Digest of what is left of an open binary file."""
    # MD5 names the files of DVC, also where a policy forbids it for security.
    digest = hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False))  # type: ignore[arg-type]
    return digest.hexdigest()
