"""A program started several times, as the workers of one group on this machine."""

import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import structlog

from headrace.components.errors import ParamsError
from headrace.pipelines.host.processes import guarded_children
from headrace.pipelines.host.tf_config import SECRET_VARIABLE, VARIABLE

LOOPBACK = "127.0.0.1"
POLL_SECONDS = 0.1
END_SECONDS = 20.0  # for a checkpoint, after SIGTERM

log = structlog.get_logger()


def launch_group(program: Path, arguments: Sequence[str], *, processes: int, max_failures: int) -> int:
    """Run the program as a group until all have ended well, 0, or it has failed too often: a failed one's exit code.

    Lines that they print have the rank in front. Raises ParamsError where there is no such program.
    """
    if not program.is_file():
        raise ParamsError(f"no program at {program}; expected the path of a Python file")
    failures = 0
    while (code := _run(program, arguments, processes)) and failures < max_failures:
        failures += 1
        log.warning("a process failed: the group is started again", exit_code=code, failures=failures)
    return code


def _run(program: Path, arguments: Sequence[str], count: int) -> int:
    """Exit code of the first process that failed, once the others are ended; 0 where all have ended well."""
    with guarded_children(), ExitStack() as opened:
        group = [
            opened.enter_context(_process(program, arguments, environment, rank))
            for rank, environment in enumerate(_environments(count))
        ]
        while True:
            codes = [process.poll() for process in group]
            if failed := next((code for code in codes if code), 0):
                return 128 - failed if failed < 0 else failed  # by a signal, as a shell says it
            if None not in codes:
                return 0
            time.sleep(POLL_SECONDS)


def _environments(count: int) -> Iterator[dict[str, str]]:
    """Environment of each process of a group: its rank, the addresses of all, and the secret they share."""
    workers = [f"{LOOPBACK}:{port}" for port in _free_ports(count)]
    threads = max(1, len(os.sched_getaffinity(0)) // count)
    common = {
        **os.environ,
        SECRET_VARIABLE: secrets.token_hex(32),
        "TF_NUM_INTRAOP_THREADS": os.environ.get("TF_NUM_INTRAOP_THREADS", str(threads)),
        "PYTHONUNBUFFERED": "1",
    }
    for rank in range(count):
        config = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": rank}}
        yield {**common, VARIABLE: json.dumps(config)}


def _free_ports(count: int) -> list[int]:
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.create_server((LOOPBACK, 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def _process(
    program: Path, arguments: Sequence[str], environment: dict[str, str], rank: int
) -> Iterator[subprocess.Popen[str]]:
    """A started process; at the end of the block it is asked to end, and killed if it does not."""
    command = [sys.executable, str(program), *arguments]
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # a Ctrl-C comes through the launcher alone, once
    )
    with process:
        printer = threading.Thread(target=_print, args=(process.stdout, rank), daemon=True)
        printer.start()
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            printer.join(END_SECONDS)


def _print(lines: IO[str], rank: int) -> None:
    for line in lines:
        print(f"[{rank}] {line}", end="", flush=True)  # noqa: T201
