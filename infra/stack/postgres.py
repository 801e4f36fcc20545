"""PostgreSQL 15: one server, a database each for Airflow and MLflow."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from headrace.components.errors import ServiceError
from infra.stack.services import Service, listens, run_as
from infra.stack.state import Stack, write_private

DATABASES = ("airflow", "mlflow")
_DEBIAN = Path("/usr/lib/postgresql/15/bin")


def services(stack: Stack, step: tuple[str, ...]) -> list[Service]:
    """The step that creates the data folder, the server, and the step that creates the databases."""
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": stack.ports["postgres"],
        "unix_socket_directories": "",  # a socket's path is limited to 107 bytes, a folder's is not
        "shared_buffers": "64MB",
        "max_connections": 100,
        "logging_collector": "off",  # to standard error, which is the log file of this service
    }
    options = [f"--{name}={value}" for name, value in settings.items()]
    return [
        Service(name="postgres-data", command=(*step, "postgres-data"), once=True),
        Service(
            name="postgres",
            command=(str(program("postgres")), "-D", str(data_folder(stack)), *options),
            user=server_user(),
            needs=("postgres-data",),
            is_ready=lambda _since: accepts_connections(stack),
            address=f"127.0.0.1:{stack.ports['postgres']}",
            stop_signal=signal.SIGINT,  # end the sessions of clients; SIGTERM would wait for them
            stop_seconds=30.0,
        ),
        Service(name="databases", command=(*step, "databases"), needs=("postgres",), once=True),
    ]


def data_folder(stack: Stack) -> Path:
    """PostgreSQL's data folder."""
    return stack.data / "postgres"


def database_url(stack: Stack, database: str, *, driver: str = "psycopg2") -> str:
    """SQLAlchemy's URL of a database, with its password; the user has the database's name."""
    password = stack.secrets[f"{database}_database"]
    return f"postgresql+{driver}://{database}:{password}@127.0.0.1:{stack.ports['postgres']}/{database}"


def program(name: str) -> Path:
    """Find a program of PostgreSQL; raises ServiceError if it is not installed."""
    for candidate in (_DEBIAN / name, Path(shutil.which(name) or "")):
        if candidate.is_file():
            return candidate
    raise ServiceError(f"PostgreSQL's program {name} is not on the PATH. On Debian: sudo apt install postgresql-15")


def server_user() -> str | None:
    """The user that runs the server, because PostgreSQL refuses root; None for the present user."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise ServiceError("PostgreSQL does not run as root, and there is no user postgres: run the stack as another user")


def accepts_connections(stack: Stack) -> bool:
    """Whether the server answers and has finished any recovery."""
    import psycopg2

    if not listens(stack.ports["postgres"]):
        return False
    with contextlib.suppress(psycopg2.OperationalError):
        psycopg2.connect(**_connection(stack, "postgres")).close()
        return True
    return False


def make_data_folder(stack: Stack) -> None:
    """Make the data folder with a password for its superuser, unless there is one."""
    folder, user = data_folder(stack), server_user()
    if (folder / "PG_VERSION").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)  # of an interrupted start
    folder.mkdir(mode=0o700)
    if user is not None:
        shutil.chown(folder, user)
        _check_passable(folder, user)
    password = folder.with_name("postgres-password")
    write_private(password, stack.secrets["postgres"])
    if user is not None:
        shutil.chown(password, user)
    command = [str(program("initdb")), "--pgdata", str(folder), "--username=postgres", f"--pwfile={password}"]
    made = subprocess.run(
        [*command, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"], **run_as(user), check=False
    )
    password.unlink()
    if made.returncode != 0:
        raise ServiceError(f"initdb could not make {folder}; its reason is above")


def _check_passable(folder: Path, user: str) -> None:
    if subprocess.run(["test", "-x", folder], **run_as(user), check=False).returncode == 0:
        return
    blocked = [
        one for one in folder.parents if subprocess.run(["test", "-x", one], **run_as(user), check=False).returncode
    ]
    raise ServiceError(
        f"PostgreSQL does not run as root but as user {user}, who may not pass {blocked[-1]}. Choose a folder that can "
        f"be passed (--folder), run: chmod o+x '{blocked[-1]}', or run the stack as another user than root"
    )


def make_databases(stack: Stack) -> None:
    """Make both databases, each with an owner of its name, unless they are there."""
    import psycopg2
    from psycopg2 import sql

    with contextlib.closing(psycopg2.connect(**_connection(stack, "postgres"))) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        for name in DATABASES:
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,))
            verb = "ALTER" if cursor.fetchone() else "CREATE"
            password = sql.Literal(stack.secrets[f"{name}_database"])
            role = sql.SQL(f"{verb} ROLE {{}} LOGIN PASSWORD {{}}")
            cursor.execute(role.format(sql.Identifier(name), password))
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            if not cursor.fetchone():
                cursor.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(sql.Identifier(name)))


def schema_is(stack: Stack, database: str, version: str) -> bool:
    """Whether `set_schema` was last called with this version, which the database itself records."""
    return _query_value(
        stack, database, "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
    ) == (f"schema of {version}")


def set_schema(stack: Stack, database: str, version: str) -> None:
    """Note which program's schema the database has."""
    import psycopg2
    from psycopg2 import sql

    with contextlib.closing(psycopg2.connect(**_connection(stack, database))) as connection, connection:
        note = sql.SQL("COMMENT ON DATABASE {} IS {}")
        connection.cursor().execute(note.format(sql.Identifier(database), sql.Literal(f"schema of {version}")))


def _query_value(stack: Stack, database: str, query: str) -> str | None:
    import psycopg2

    with contextlib.closing(psycopg2.connect(**_connection(stack, database))) as connection:
        cursor = connection.cursor()
        cursor.execute(query, (database,))
        row = cursor.fetchone()
        return row[0] if row else None


def _connection(stack: Stack, database: str) -> dict[str, Any]:
    password = stack.secrets["postgres" if database == "postgres" else f"{database}_database"]
    return {
        "host": "127.0.0.1",
        "port": stack.ports["postgres"],
        "user": database,
        "dbname": database,
        "password": password,
        "connect_timeout": 5,
    }
