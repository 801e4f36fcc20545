"""MLflow's server: runs and models in PostgreSQL, artifacts in S3, both reached through it alone."""

import importlib.metadata
import os
import subprocess
import sys

from headrace.components.errors import ServiceError
from infra.stack import postgres
from infra.stack.services import Service, fetch
from infra.stack.state import Stack
from infra.stack.swift import BUCKETS

_VARIABLES = {
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # for judges of language models: half a dozen processes
}


def services(stack: Stack, step: tuple[str, ...], client: dict[str, str]) -> list[Service]:
    """The step that creates the tables, and the server; `client` is the environment for S3."""
    schema = Service(name="mlflow-schema", command=(*step, "mlflow-schema"), needs=("databases",), once=True)
    variables = {
        **client,
        **_VARIABLES,
        # Not as options: everybody can read a command line, and the password is in the address.
        "MLFLOW_BACKEND_STORE_URI": postgres.database_url(stack, "mlflow"),
        "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{BUCKETS[1]}",
    }
    del variables["MLFLOW_TRACKING_URI"]  # else the server would be its own client
    options = ("--host", "127.0.0.1", "--port", str(stack.ports["mlflow"]), "--workers", "1")
    server = Service(
        name="mlflow",
        command=(sys.executable, "-m", "mlflow", "server", *options),
        environment=variables,
        folder=stack.data,
        needs=("mlflow-schema", "buckets"),
        is_ready=lambda _since: fetch(f"{stack.url('mlflow')}/health") is not None,
        address=stack.url("mlflow"),
        tier=2,
    )
    return [schema, server]


def make_schema(stack: Stack) -> None:
    """Migrate the tables to the installed version, once for all clients: several at a time ruin a fresh database."""
    version = f"mlflow {importlib.metadata.version('mlflow')}"
    if postgres.schema_is(stack, "mlflow", version):
        return
    address = postgres.database_url(stack, "mlflow").replace(f":{stack.secrets['mlflow_database']}@", "@")
    command = [sys.executable, "-m", "mlflow", "db", "upgrade", address]
    variables = {**os.environ, "PGPASSWORD": stack.secrets["mlflow_database"]}
    if subprocess.run(command, env=variables, check=False).returncode != 0:
        raise ServiceError("`mlflow db upgrade` failed; its reason is above")
    postgres.set_schema(stack, "mlflow", version)
