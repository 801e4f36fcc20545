"""Private names of Airflow: what its server knows of a run's tasks, outside of a task."""

from collections.abc import Sequence
from typing import Any

import airflow
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from headrace.components.compatibility.tested_versions import require_tested

__all__ = ["task_states"]

TESTED_VERSIONS = ("3.3",)

require_tested("apache-airflow", airflow.__version__, tested=TESTED_VERSIONS)


def task_states(dag_id: str, run_id: str, *, task_ids: Sequence[str] | None = None) -> dict[str, Any]:
    """State of each task of a run, or of some of them, by name; that of a mapped one is `NAME_INDEX`.

    The public way is a method of a running task; triggers and callbacks of a DAG have none.
    """
    chosen = list(task_ids) if task_ids is not None else None
    states = RuntimeTaskInstance.get_task_states(dag_id=dag_id, task_ids=chosen, run_ids=[run_id])
    return dict(states.get(run_id, {}))
