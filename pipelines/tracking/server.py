"""Which MLflow this is: the server that MLFLOW_TRACKING_URI names, else a SQLite file in the project."""

import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from components.errors import ServiceError
from components.redaction import redacted
from pipelines.paths import ProjectPaths
from pipelines.storage.atomic import replace_file

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow is imported inside the functions: it takes 1.2 s, and 0.8 s more for the first call to a database.

_SQLITE = "sqlite:///"

# Set before MLflow is imported; a person's own setting wins. MLflow's own are 7 retries of 120 s, so that a call to a
# server that is away blocks for minutes.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",  # our models are .keras files: a pickle is none of ours
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def connect(root: Path) -> "MlflowClient":
    """Return a client of MLFLOW_TRACKING_URI, or of `root`/mlflow.db where that is not set.

    A server is not called yet; a SQLite file is made if there is none. Raises ServiceError if the file can't be used.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # else one warning for each new try
    uri = tracking_uri(root)
    if uri.startswith(_SQLITE):
        _ensure_schema(Path(uri.removeprefix(_SQLITE)), artifacts=ProjectPaths(root).mlflow_artifacts)

    from mlflow import MlflowClient

    with asking(uri, "open the store"):
        return MlflowClient(tracking_uri=uri)


def tracking_uri(root: Path) -> str:
    """Return the address of MLflow, which may hold a password: show `address_of` it instead."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}{ProjectPaths(root).mlflow_database.resolve()}"


def address_of(uri: str) -> str:
    """Return an address without its secrets, fit to be shown."""
    return redacted(uri)


def artifact_location(root: Path, experiment: str) -> str | None:
    """Return where a new experiment keeps its artifacts, as a file URI; None where a server decides."""
    if not tracking_uri(root).startswith(_SQLITE):
        return None
    return (ProjectPaths(root).mlflow_artifacts.resolve() / experiment).as_uri()


@contextmanager
def asking(uri: str, what: str) -> Iterator[None]:
    """Turn whatever MLflow raises inside the block into a ServiceError that says what was tried, and where."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:  # what `requests` raises is an OSError
        raise ServiceError(
            f"MLflow at {address_of(uri)}: could not {what}: {_first_line(error)}{_mend(uri, error)}"
        ) from error


def is_missing(error: ServiceError) -> bool:
    """Return whether MLflow was reached and said that there is no such thing."""
    from mlflow.exceptions import MlflowException

    cause = error.__cause__
    return isinstance(cause, MlflowException) and cause.error_code == "RESOURCE_DOES_NOT_EXIST"


def _ensure_schema(database: Path, *, artifacts: Path) -> None:
    """Make the SQLite store once, under a lock: six clients that open one fresh file together ruin it.

    The schema is made under a temporary name and renamed, so a file that is there is whole, and costs one look.
    """
    try:
        if not _has_content(database):
            database.parent.mkdir(parents=True, exist_ok=True)
            with database.with_name(f"{database.name}.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not _has_content(database):
                    _create_store(database, artifacts)
        # MLflow tries ten times, 100 s in all, to open a file that can't be opened.
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("SELECT version_num FROM alembic_version")
    except (OSError, sqlite3.Error) as error:
        raise ServiceError(
            f"can't use MLflow's database {database}: {error}. Move that file away to start with an empty one, "
            "or set MLFLOW_TRACKING_URI to another place"
        ) from error


def _has_content(database: Path) -> bool:
    return database.is_file() and database.stat().st_size > 0


def _create_store(database: Path, artifacts: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it tells of each table
    with replace_file(database) as temporary:
        uri = f"{_SQLITE}{temporary}"
        with asking(uri, "make the tables"):
            SqlAlchemyStore(uri, artifacts.resolve().as_uri()).engine.dispose()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return redacted(lines[0]).rstrip(".")[:300]


def _mend(uri: str, error: Exception) -> str:
    text = str(error)
    if "mlflow db upgrade" in text:
        return f". Make a copy of the database, then run: mlflow db upgrade '{uri}'"
    if uri.startswith("http") and (isinstance(error, OSError) or "API request to" in text):
        return ". See that the server is up and that MLFLOW_TRACKING_URI is right"
    if isinstance(error, OSError) or "OperationalError" in text:
        return ". See that the disk has room and that no other program holds the file"
    return ""
