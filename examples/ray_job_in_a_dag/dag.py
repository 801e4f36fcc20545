"""A DAG of one's own with `RayJobOperator`: any command as a job on a Ray cluster, and nothing else of Headrace.

The cluster is the Airflow connection `ray_default` of type Ray. The folder of this file is shipped with the job. A
retry joins the job that runs already; ending the task stops it.
"""

from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG

from headrace import RayJobOperator

with DAG(dag_id="count_words", schedule="@daily", catchup=False, tags=["example"]) as dag:
    RayJobOperator(
        task_id="count",
        entrypoint="python count_words.py",
        working_dir=str(Path(__file__).parent),
        environment={"RAY_USAGE_STATS_ENABLED": "0"},
        job_timeout_seconds=600,
        retries=2,
        retry_delay=timedelta(minutes=1),
    )
