"""`up`: start the supervisor, and report its progress until all is ready."""

import subprocess
import sys
import time
from pathlib import Path

import typer

from infra.stack import down
from infra.stack.plan import base_environment, check_ports, services_of, write_environment
from infra.stack.show import addresses
from infra.stack.state import Stack
from infra.stack.supervisor import Record, Status, read_record

_LOG_LINES = 15
_LOOK_SECONDS = 0.2


def up(stack: Stack) -> int:
    """Start the stack if it does not run; return 0 when all is ready, 1 if something could not be started."""
    services_of(stack)  # what is missing on this machine is said here, not in a log
    write_environment(stack)
    typer.echo(addresses(stack))
    record = _running(stack)
    if record is None:
        down.end_leftovers(read_record(stack.state))
        check_ports(stack)
        _start(stack)
    elif _all_ready(record):
        typer.echo("all is up already; how it is: .venv/bin/python -m infra.stack status")
        return 0
    return _follow(stack)


def _running(stack: Stack) -> Record | None:
    record = read_record(stack.state)
    return record if record and record.supervisor.find() else None


def _start(stack: Stack) -> None:
    """Start the supervisor, and return when it records its state, or has ended."""
    for old in stack.logs.glob("*.log"):
        old.replace(old.with_suffix(".log.1"))  # of the start before; those of older ones go
    command = [sys.executable, "-m", "infra.stack", "supervise", "--folder", str(stack.folder)]
    with (stack.logs / "supervisor.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=stack.root,
            env=base_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,  # whatever a server makes is nobody else's to read
        )
    while _running(stack) is None and process.poll() is None:
        time.sleep(_LOOK_SECONDS)


def _follow(stack: Stack) -> int:
    reported: dict[str, tuple[str, int]] = {}
    began = time.monotonic()
    while (record := _running(stack)) is not None:
        for name, now in record.services.items():
            if reported.get(name) != (now.state, now.restarts):
                reported[name] = (now.state, now.restarts)
                _report(stack, name, now)
        if _all_ready(record):
            typer.echo(f"all is ready after {time.monotonic() - began:.0f} s; to end it: make stack-down")
            return 0
        if _is_stuck(record):
            typer.echo("what needs a failed service was not started; to end the rest: make stack-down", err=True)
            return 1
        time.sleep(_LOOK_SECONDS)
    typer.echo(f"the supervisor has ended:\n{_last_lines(stack.logs / 'supervisor.log')}", err=True)
    return 1


def _report(stack: Stack, name: str, status: Status) -> None:
    log = stack.logs / f"{name}.log"
    if status.state in ("ready", "done"):
        typer.echo(f"  {name:<22} {status.state:<6} {status.seconds:5.1f} s")
    elif status.state == "pausing":
        typer.echo(f"  {name:<22} {status.reason}; trying again")
    elif status.state == "failed":
        typer.echo(f"  {name:<22} failed: {status.reason}\n{_last_lines(log)}\n  the whole log: {log}", err=True)


def _last_lines(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return "\n".join(f"    {line}" for line in lines[-_LOG_LINES:])


def _all_ready(record: Record) -> bool:
    return all(one.state in ("ready", "done") for one in record.services.values())


def _is_stuck(record: Record) -> bool:
    states = {one.state for one in record.services.values()}
    return "failed" in states and not states & {"starting", "pausing"}
