"""Pages of other programs that belong to a training: its MLflow run, its Ray job, its DAG run."""

import os
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from headrace.components.errors import ServiceError
from headrace.pipelines.artifacts.run_record import RunFile


def pages_of(root: Path, run: RunFile) -> dict[str, str]:
    """Addresses of those pages whose server this process knows, without user and password.

    MLflow is asked for the run's experiment, and left out where it does not answer.
    """
    found = {
        "MLflow run, page": _mlflow_page(root, run),
        "Ray job, page": _ray_page(run),
        "DAG run, page": _dag_run_page(run),
    }
    return {name: address for name, address in found.items() if address}


def _mlflow_page(root: Path, run: RunFile) -> str:
    server = _server("MLFLOW_TRACKING_URI")
    if not server or run.mlflow_run_id is None:
        return ""
    from headrace.pipelines.tracking.server import connect, mlflow_request

    client = connect(root)
    try:
        with mlflow_request(client.tracking_uri, f"find run {run.mlflow_run_id}"):
            experiment = client.get_run(run.mlflow_run_id).info.experiment_id
    except ServiceError:
        return ""
    return f"{server}/#/experiments/{experiment}/runs/{run.mlflow_run_id}"


def _ray_page(run: RunFile) -> str:
    server = _server("RAY_ADDRESS")
    return f"{server}/#/jobs/{quote(run.ray_job_id)}" if server and run.ray_job_id != "embedded" else ""


def _dag_run_page(run: RunFile) -> str:
    """Trainings of a DAG run are owned by `DAG/RUN`."""
    server, (dag, _, dag_run) = _server("AIRFLOW__API__BASE_URL"), run.owner.partition("/")
    return f"{server}/dags/{quote(dag)}/runs/{quote(dag_run)}" if server and dag_run else ""


def _server(variable: str) -> str:
    """Address of a server of HTTP without its secrets; "" where the variable names none."""
    parts = urlsplit(os.environ.get(variable, ""))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", ""))
