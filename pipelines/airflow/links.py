"""What a task leads to: its Ray job, its MLflow run, its report. Each is an attribute that the task has set."""

import os
from pathlib import Path
from typing import Any

import httpx
from airflow.sdk import BaseOperatorLink

from headrace.components.errors import DataError
from headrace.pipelines.artifacts.run_record import read_run
from headrace.pipelines.paths import PipelinePaths

TIMEOUT_SECONDS = 5.0
_PAGES = {"evaluate": "report.html", "register": "decision.html"}


class RayLink(BaseOperatorLink):  # type: ignore[misc]  # mypy does not follow imports into Airflow
    """The job on Ray's dashboard."""

    name = "Ray dashboard"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002
        """The job's page; "" while there is no job."""
        return getattr(operator, "ray_url", None) or ""


class MlflowLink(BaseOperatorLink):  # type: ignore[misc]
    """The training's run in MLflow."""

    name = "MLflow run"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002
        """The run's page; "" while there is no run."""
        return getattr(operator, "mlflow_url", None) or ""


class ReportLink(BaseOperatorLink):  # type: ignore[misc]
    """The report page among the artifacts of the MLflow run."""

    name = "Report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002
        """The report's page; "" where the stage writes none."""
        url, page = getattr(operator, "mlflow_url", None), _PAGES.get(operator.stage)
        return f"{url}/artifacts/evaluation/{page}" if url and page else ""


def mlflow_address(root: Path, pipeline: str) -> str | None:
    """Page of the MLflow run that trained the present model; None without a run or a server."""
    server = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not server.startswith(("http://", "https://")):
        return None
    try:
        run_id = read_run(PipelinePaths(root, pipeline)).mlflow_run_id
        answer = httpx.get(
            f"{server}/api/2.0/mlflow/runs/get", params={"run_id": run_id}, timeout=TIMEOUT_SECONDS
        ).raise_for_status()
        experiment = answer.json()["run"]["info"]["experiment_id"]
    except (DataError, httpx.HTTPError, KeyError, ValueError):
        return None
    address = httpx.URL(server).copy_with(userinfo=b"", query=None)
    return f"{str(address).rstrip('/')}/#/experiments/{experiment}/runs/{run_id}"
