"""`status`, and the addresses that `up` prints first."""

import time
from concurrent.futures import ThreadPoolExecutor

import typer

from infra.stack import airflow_services, swift
from infra.stack.plan import services_of
from infra.stack.services import Service
from infra.stack.state import Stack
from infra.stack.supervisor import Status, read_record


def addresses(stack: Stack) -> str:
    """A table of each user interface: its address, and how to log in."""
    password = airflow_services.password(stack)
    rows = {
        "Airflow": ("airflow", f"user {airflow_services.USER}, password {password}"),
        "MLflow": ("mlflow", "no log-in"),
        "Ray": ("ray-dashboard", f"token: cat '{stack.ray_token}'"),
        "S3": ("s3", f"key {swift.ACCESS_KEY}, secret in the file below"),
    }
    lines = [f"{name:<8} {stack.url(port)}  {how}" for name, (port, how) in rows.items()]
    return "\n".join([*lines, f"for programs: . '{stack.environment}'; logs: {stack.logs}"])


def status(stack: Stack | None) -> int:
    """Print one line per server, after a ready check of each; return 0 if all are ready, else 1."""
    record = read_record(stack.state) if stack else None
    if stack is None or record is None or record.supervisor.find() is None:
        typer.echo("the stack does not run; to start it: make stack")
        return 1
    servers = [one for one in services_of(stack) if not one.once]
    with ThreadPoolExecutor(len(servers)) as threads:
        states = [*threads.map(lambda one: _state(one, record.services[one.name]), servers)]
    typer.echo(f"{'service':<22} {'state':<10} {'pid':>8} {'restarts':>8}  address")
    for server, state in zip(servers, states, strict=True):
        known = record.services[server.name]
        typer.echo(f"{server.name:<22} {state:<10} {known.pid or '-':>8} {known.restarts:>8}  {server.address}")
        if known.reason:
            typer.echo(f"{'':<22} {known.reason}")
    return int(any(state != "ready" for state in states))


def _state(server: Service, known: Status) -> str:
    if known.state != "ready":
        return known.state
    # Ready now, which is more than having been ready: it may hang.
    return (
        "ready"
        if known.leader and known.leader.find() and server.is_ready((known.started or time.time()) - 1)
        else "hangs"
    )
