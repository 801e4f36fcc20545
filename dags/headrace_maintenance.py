"""Every hour: no MLflow run stays RUNNING that nobody trains any more, and old workspaces of DAG runs are removed.

A run is asked of Ray by its job, or of this machine by its process. A workspace goes when it was not used for two
weeks; what its run has made is in DVC's remote, and listed by `dvc exp show`.
"""

from datetime import UTC, datetime
from pathlib import Path

from airflow.sdk import DAG, task

from headrace.pipelines.airflow.command import CommandOperator
from headrace.pipelines.airflow.run import remove_unused_workspaces

WORKSPACE_DAYS = 14
root = Path(__file__).resolve().parents[1]

with DAG(
    dag_id="headrace_maintenance",
    doc_md=__doc__,
    schedule="@hourly",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["headrace"],
):
    CommandOperator(task_id="sweep", command=["runs", "sweep"], root=root)

    @task
    def remove_workspaces() -> list[str]:
        """Return the names of those that were removed."""
        return remove_unused_workspaces(root, older_than_days=WORKSPACE_DAYS)

    remove_workspaces()
