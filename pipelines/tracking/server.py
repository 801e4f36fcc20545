"""Which MLflow this is: the server that MLFLOW_TRACKING_URI names, else a SQLite file in the project."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.components.errors import ServiceError
from headrace.components.redaction import redacted
from headrace.pipelines.paths import ProjectPaths
from headrace.pipelines.tracking.store import check_store, open_store

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow is imported inside the functions: it takes seconds, which other commands would pay for, too.

_SQLITE = "sqlite:///"
# As each kind of store says it. Not any 404: ids and ports, which may hold that, are in the text of other errors.
_NOT_THERE = re.compile(r"\(404\)|error code 404|404 Client Error|No such (artifact|file)|[Nn]ot [Ff]ound")

# Set before MLflow is imported; a user's own setting wins. MLflow's own are 7 retries of 120 s, so that a call to a
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
    """A client of MLFLOW_TRACKING_URI, or of `root`/mlflow.db where that is not set.

    A server is not called yet; a SQLite file is made if there was none. Raises StoreError if it is gone or damaged,
    ServiceError if it can't be used now.
    """
    _set_environment()
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # else one warning for each new try
    uri = tracking_uri(root)
    if (database := database_of(root)) is not None:
        artifacts = ProjectPaths(database.parent).mlflow_artifacts
        is_own = not os.environ.get("MLFLOW_TRACKING_URI")  # else other projects may keep theirs elsewhere
        open_store(
            database,
            create=partial(_create_store, artifacts=artifacts),
            artifacts_uri=artifacts.resolve().as_uri() if is_own else None,
        )

    from mlflow import MlflowClient

    with mlflow_request(uri, "open the store"):
        return MlflowClient(tracking_uri=uri)


def import_mlflow() -> None:
    """Import MLflow with its SQLite store, for calls that follow."""
    _set_environment()
    from headrace.pipelines.compatibility import mlflow_internals  # noqa: F401


def _set_environment() -> None:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def tracking_uri(root: Path) -> str:
    """MLflow's address, which may hold a password: to show it, use `address_of`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}{ProjectPaths(root).mlflow_database.resolve()}"


def address_of(uri: str) -> str:
    """An address without its secrets, fit to be shown."""
    return redacted(uri)


def artifact_location(root: Path, experiment: str) -> str | None:
    """File URI of a new experiment's artifacts; None where a server decides.

    They are beside the store's file, which a job on a cluster reads from another folder than its own.
    """
    if (database := database_of(root)) is None:
        return None
    return (ProjectPaths(database.parent).mlflow_artifacts.resolve() / experiment).as_uri()


@contextmanager
def mlflow_request(uri: str, what: str) -> Iterator[None]:
    """Raise errors of MLflow within the block as ServiceError, with the address and what could not be done."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:  # what `requests` raises is an OSError
        raise ServiceError(
            f"MLflow at {address_of(uri)}: could not {what}: {_first_line(error)}{_remedy(uri, error)}"
        ) from error


def is_missing(error: ServiceError) -> bool:
    """Whether MLflow was reached and answered that there is no such thing."""
    from mlflow.exceptions import MlflowException

    cause = error.__cause__
    return isinstance(cause, MlflowException) and cause.error_code == "RESOURCE_DOES_NOT_EXIST"


def says_not_there(error: Exception) -> bool:
    """Whether an error of reading an artifact says that the store was reached, and has no such file."""
    return _NOT_THERE.search(str(error)) is not None


def check(root: Path) -> None:
    """Check the project's own store without importing MLflow; a server is not queried.

    Raises StoreError for a store that is gone, damaged or older than it was: to be called before hours of work.
    """
    if (database := database_of(root)) is not None:
        check_store(database, thorough=True)


def database_of(root: Path) -> Path | None:
    """SQLite file of the store; None where a server has it."""
    uri = tracking_uri(root)
    return Path(uri.removeprefix(_SQLITE)).resolve() if uri.startswith(_SQLITE) else None


def home_of(root: Path) -> ProjectPaths:
    """The project itself, also from one of its workspaces, whose store is a link to the project's."""
    return ProjectPaths(ProjectPaths(root).mlflow_database.resolve().parent)


def _create_store(database: Path, artifacts: Path) -> None:
    from headrace.pipelines.compatibility.mlflow_internals import create_tables

    uri = f"{_SQLITE}{database}"
    with mlflow_request(uri, "make the tables"):
        create_tables(uri, artifacts.resolve().as_uri())


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return redacted(lines[0]).rstrip(".")[:300]


def _remedy(uri: str, error: Exception) -> str:
    text = str(error)
    if "mlflow db upgrade" in text:
        return f". Make a copy of the database, then run: mlflow db upgrade '{uri}'"
    if uri.startswith("http") and (isinstance(error, OSError) or "API request to" in text):
        return ". See that the server is up and that MLFLOW_TRACKING_URI is right"
    if isinstance(error, OSError) or "OperationalError" in text:
        return ". See that the disk has room and that no other program holds the file"
    return ""
