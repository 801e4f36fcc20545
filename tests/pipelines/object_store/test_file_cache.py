"""Files kept on a node's disk within a limit."""

import errno
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headrace.components.errors import ServiceError
from headrace.pipelines.object_store.file_cache import FileCache


class Source:
    """Files of ten bytes; `fetched` are the names of those that were written, in their order."""

    def __init__(self) -> None:
        self.fetched: list[str] = []

    def read(self, cache: FileCache, name: str, next_use: float) -> bytes:
        def fetch(file: Path) -> None:
            self.fetched.append(name)
            file.write_bytes(name.encode().ljust(10))

        with cache.opened(name, next_use=next_use, fetch=fetch) as file:
            return file.read_bytes()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_needed_latest_goes_first_and_nothing_is_fetched_twice_without_need(tmp_path):
    cache, source = FileCache(tmp_path / "cache", limit_bytes=25), Source()
    source.read(cache, "a", 9.0)
    source.read(cache, "b", 2.0)
    source.read(cache, "c", 3.0)
    assert names(tmp_path / "cache") == ["b", "c"]
    assert source.read(cache, "c", 8.0) == b"c".ljust(10)
    source.read(cache, "d", 20.0)  # needed later than all others: it does not stay
    assert names(tmp_path / "cache") == ["b", "c"]
    source.read(cache, "a", 4.0)
    assert names(tmp_path / "cache") == ["a", "b"]
    assert source.fetched == ["a", "b", "c", "d", "a"]


def test_a_limit_of_nothing_keeps_nothing_and_a_file_that_is_read_stays(tmp_path):
    cache, source = FileCache(tmp_path / "cache", limit_bytes=0), Source()
    with cache.opened("a", next_use=0.0, fetch=lambda file: file.write_bytes(b"a")) as file:
        source.read(cache, "b", 0.0)
        assert file.read_bytes() == b"a"
    assert names(tmp_path / "cache") == []


def test_many_who_want_one_file_fetch_it_once(tmp_path):
    cache, source = FileCache(tmp_path / "cache", limit_bytes=100), Source()
    barrier = threading.Barrier(8, timeout=20)

    def read(_: int) -> bytes:
        barrier.wait()
        return source.read(cache, "a", 1.0)

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(read, range(8))) == {b"a".ljust(10)}
    assert source.fetched == ["a"]


def test_what_fails_leaves_nothing_and_is_fetched_the_next_time(tmp_path):
    cache, source = FileCache(tmp_path / "cache", limit_bytes=100), Source()

    def fail(file: Path) -> None:
        file.write_bytes(b"half")
        raise ServiceError("the storage is away")

    with pytest.raises(ServiceError, match="away"), cache.opened("a", next_use=1.0, fetch=fail):
        raise AssertionError("opened")
    assert names(tmp_path / "cache") == []
    assert source.read(cache, "a", 1.0) == b"a".ljust(10)


def test_a_full_disk_is_cleared_of_what_nobody_reads_and_then_one_line(tmp_path):
    cache, source = FileCache(tmp_path / "cache", limit_bytes=100), Source()
    source.read(cache, "a", 1.0)

    def fetch_if_clear(file: Path) -> None:
        if (tmp_path / "cache" / "a").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        file.write_bytes(b"b")

    with cache.opened("b", next_use=2.0, fetch=fetch_if_clear) as file:
        assert file.read_bytes() == b"b"

    def fail(_: Path) -> None:
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise ServiceError("storage can't read c") from error

    expected = r"no room for c in .*: \d+ bytes are free .*TMPDIR.*, or lower train.data_cache_bytes"
    with pytest.raises(ServiceError, match=expected), cache.opened("c", next_use=1.0, fetch=fail):
        raise AssertionError("opened")


def test_what_another_process_left_is_removed_and_it_has_the_folder_while_it_lives(tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom headrace.pipelines.object_store.file_cache import FileCache\n"
        "folder = Path(sys.argv[1])\ncache = FileCache(folder, limit_bytes=9)\n(folder / '.half').touch()\n"
        "print('has it', flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "cache")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "has it\n"
        waiting = threading.Thread(target=FileCache, args=(tmp_path / "cache",), kwargs={"limit_bytes": 9}, daemon=True)
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        assert names(tmp_path / "cache") == [".half"]
        other.kill()
        waiting.join(20)
    assert not waiting.is_alive()
    assert names(tmp_path / "cache") == []
