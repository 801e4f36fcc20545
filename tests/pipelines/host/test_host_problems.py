import errno
import resource
import sqlite3
import subprocess
import sys

import polars as pl
import pytest

from headrace.components.errors import DataError
from headrace.pipelines.host.host_problems import host_problem, host_problem_in, is_out_of_memory, is_read_only

FULL = "parquet: File out of specification: underlying IO error: No space left on device (os error 28)"


def caused_by(cause: Exception) -> Exception:
    try:
        raise DataError("can't read rows.csv") from cause
    except DataError as error:
        return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied", "data/digits"), "Permission denied: data/digits"),
        (OSError(28, "Error writing bytes to file"), "No space left on device"),  # pyarrow's has no file name
        (OSError(24, "Too many open files", "a.csv"), "Too many open files: a.csv"),
        (OSError(27, "File too large"), "File too large"),  # ulimit -f
        (pl.exceptions.ComputeError(FULL), "No space left on device"),
        (sqlite3.OperationalError("database or disk is full"), "No space left on device"),
        (sqlite3.OperationalError("disk I/O error"), "disk I/O error"),
        (RuntimeError("UNKNOWN: /x/events; No space left on device"), "No space left on device"),  # TensorFlow's
        (RuntimeError("can't start new thread"), "no more threads"),
        (caused_by(OSError(errno.EROFS, "Read-only file system", "x")), "Read-only file system: x"),
    ],
)
def test_what_the_machine_lacks_is_said_in_one_line(error, said):
    problem = host_problem(error)
    assert said in problem
    assert "headrace doctor" in problem
    assert "\n" not in problem
    assert not is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("OOM when allocating tensor with shape[1000000,4096] and type float"),
    ],
)
def test_without_memory_the_advice_is_to_need_less(error):
    assert is_out_of_memory(error)
    assert "lower train.global_batch_size" in host_problem(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError(),
        KeyError("a"),
        FileNotFoundError(2, "No such file or directory", "a"),
        pl.exceptions.ComputeError("No such file or directory (os error 2)"),
        caused_by(ValueError("not a number")),
    ],
)
def test_another_error_is_none_of_the_machine(error):
    assert host_problem(error) is None


def test_what_dvc_prints_is_recognized_with_its_place():
    printed = "Running stage\nERROR: unexpected error - [Errno 28] No space left on device: '/p/.dvc/tmp/lock'\n"
    assert host_problem_in(printed).startswith("No space left on device: '/p/.dvc/tmp/lock'; ")
    assert host_problem_in("ERROR: failed to reproduce 'train@small'") is None


@pytest.mark.parametrize(
    ("limit", "value", "said"),
    [
        (resource.RLIMIT_NOFILE, 12, "error: Too many open files"),
        (resource.RLIMIT_AS, 400 << 20, "memory"),
        (resource.RLIMIT_FSIZE, 1000, "error: File too large"),
    ],
)
def test_a_limit_of_the_shell_is_one_line_and_75(tmp_path, limit, value, said):
    """A program that needs more than it is given, under the command line's own `main`."""
    need = "[open('/dev/null') for _ in range(64)]; bytearray(1 << 30); open('big', 'wb').write(bytes(1 << 20))"
    code = f"import headrace.pipelines.__main__ as m; m.app = lambda: exec({need!r}); m.main()"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(limit, (value, value)),
        capture_output=True,
        text=True,
        check=False,
    )
    *_, last = ended.stderr.splitlines()
    assert ended.returncode == 75, ended.stderr
    assert last.startswith("error: ")
    assert said in last


def test_a_read_only_file_system_is_known(tmp_path, read_only):
    assert not is_read_only(tmp_path)
    assert not is_read_only(tmp_path / "absent")
    with read_only(tmp_path):
        assert is_read_only(tmp_path)


@pytest.mark.parametrize(
    ("limit", "value", "check", "said"),
    [
        (resource.RLIMIT_AS, 2 << 30, "require_addresses", "out of memory: a process may have 2.0 GiB of addresses"),
        (resource.RLIMIT_NOFILE, 64, "require_files", "Too many open files: a process may open 64, Ray needs 128"),
        (resource.RLIMIT_AS, 4 << 30, "require_addresses", "enough"),
        (resource.RLIMIT_NOFILE, 256, "require_files", "enough"),
    ],
)
def test_limits_under_which_tensorflow_or_ray_would_hang_are_refused_first(limit, value, check, said):
    code = f"try: {check}(); print('enough')\nexcept Exception as e: print(e)"
    code = f"from headrace.pipelines.host.host_problems import {check}\n{code}"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        preexec_fn=lambda: resource.setrlimit(limit, (value, value)),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stdout.startswith(said)
