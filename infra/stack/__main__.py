"""`python -m infra.stack up | down | status`."""

import fcntl
import sys
from pathlib import Path
from typing import Annotated

import typer

from headrace.components.errors import ServiceError, UserError
from infra.stack.state import Stack, open_stack

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
_ROOT = Path(__file__).resolve().parents[2]
Folder = Annotated[Path, typer.Option(help="Where the stack keeps its data, logs and settings.")]
_FOLDER = _ROOT / ".stack"


@app.command()
def up(folder: Folder = _FOLDER) -> None:
    """Start every server that does not run, and wait until all are ready."""
    from infra.stack.up import up as command

    raise typer.Exit(command(_open(folder)))


@app.command()
def down(folder: Folder = _FOLDER) -> None:
    """End every server; data stays."""
    from infra.stack.down import down as command

    raise typer.Exit(command(folder.absolute()))


@app.command()
def status(folder: Folder = _FOLDER) -> None:
    """Print whether every server is ready; exit with 1 if one is not."""
    from infra.stack.show import status as command

    raise typer.Exit(command(_open(folder) if folder.exists() else None))


@app.command(hidden=True)
def supervise(folder: Folder = _FOLDER) -> None:
    """Keep the servers, in the foreground; `up` starts this."""
    from infra.stack.plan import base_environment, services_of
    from infra.stack.supervisor import Supervisor

    stack = _open(folder)
    with (stack.folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServiceError(f"another supervisor keeps the stack of {stack.folder}") from None
        Supervisor(services_of(stack), record=stack.state, logs=stack.logs, environment=base_environment()).run()


@app.command(hidden=True)
def step(name: str, folder: Folder = _FOLDER) -> None:
    """Do one of the things that have to be done before a server can start."""
    from infra.stack import airflow_services, mlflow_server, postgres, ray_cluster, swift

    steps = {
        "postgres-data": postgres.make_data_folder,
        "ray-setup": ray_cluster.make_temporary_folder,
        "databases": postgres.make_databases,
        "s3-setup": swift.set_up,
        "buckets": swift.make_buckets,
        "mlflow-schema": mlflow_server.make_schema,
        "airflow-schema": airflow_services.make_schema,
    }
    steps[name](_open(folder))


def _open(folder: Path) -> Stack:
    return open_stack(folder, root=_ROOT)


def main() -> None:
    """Run the command line; an error that the user can fix is shown as one line."""
    try:
        app()
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
