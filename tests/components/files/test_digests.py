"""Digests of files, against those of their content."""

import hashlib
from pathlib import Path

import pytest

from headrace.components.files.digests import file_digest, stream_digest

CONTENT = b"headrace" * 100_000


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_file_s_digest_is_that_of_its_content(tmp_path: Path, algorithm: str) -> None:
    file = tmp_path / "content"
    file.write_bytes(CONTENT)
    assert file_digest(file, algorithm) == hashlib.new(algorithm, CONTENT, usedforsecurity=False).hexdigest()


def test_of_an_open_file_what_is_left_counts(tmp_path: Path) -> None:
    file = tmp_path / "content"
    file.write_bytes(CONTENT)
    with file.open("rb") as stream:
        stream.seek(8)
        assert stream_digest(stream) == hashlib.sha256(CONTENT[8:]).hexdigest()


def test_a_file_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        file_digest(tmp_path / "content")
