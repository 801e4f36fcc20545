"""`down`: end the supervisor, which ends its services; without it, end them one by one."""

import signal
import time
from pathlib import Path

import typer

from infra.stack.processes import end
from infra.stack.supervisor import Record, read_record

# More than all services' own graces, one tier after the other.
_PATIENCE_SECONDS = 150.0


def down(folder: Path) -> int:
    """End what runs of the stack in this folder; return 0, also if nothing does."""
    record = read_record(folder / "state.json")
    supervisor = record.supervisor.find() if record else None
    if record is None or (
        supervisor is None and not any(one.leader and one.leader.find() for one in record.services.values())
    ):
        typer.echo(f"no stack runs from {folder}")
        return 0
    began = time.monotonic()
    if supervisor is not None:
        supervisor.send_signal(signal.SIGTERM)
        _follow(folder, record, began=began)
    end_leftovers(read_record(folder / "state.json"))
    typer.echo(f"all has ended after {time.monotonic() - began:.0f} s; data is kept in {folder}")
    return 0


def _follow(folder: Path, record: Record, *, began: float) -> None:
    reported = {name for name, one in record.services.items() if one.state != "ready"}
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while record.supervisor.find() is not None and time.monotonic() < deadline:
        now = read_record(folder / "state.json") or record
        for name, one in now.services.items():
            if one.state == "stopped" and name not in reported:
                reported.add(name)
                typer.echo(f"  {name:<22} ended after {time.monotonic() - began:4.1f} s")
        time.sleep(0.2)


def end_leftovers(record: Record | None) -> None:
    """End the processes of a supervisor that is gone, or does not end, the last started first."""
    if record is None:
        return
    if (supervisor := record.supervisor.find()) is not None:
        supervisor.kill()
    for name, one in reversed([*record.services.items()]):
        if one.leader is not None and one.leader.find() is not None:
            typer.echo(f"  {name:<22} has no supervisor any more: ending it")
            end(one.leader, stop_signal=signal.SIGINT if name == "postgres" else signal.SIGTERM, grace_seconds=15.0)
