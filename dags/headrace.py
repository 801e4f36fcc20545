"""From raw data to a registered champion: the stages of `dvc.yaml`, one task each, one DAG per pipeline.

Each task brings its stage up to date with `dvc repro --single-item STAGE@PIPELINE`: a stage whose code, parameters and
data have not changed costs a second and runs nothing. Schedule, retries, owner and tags are in the `schedule`
section of its parameters. A pipeline runs once at a time, because its runs share one working tree.
"""

from pathlib import Path

from airflow.sdk import DAG

from pipelines.airflow.graph import pipelines_with_graphs
from pipelines.airflow.operator import stage_task

root = Path(__file__).resolve().parents[1]

for pipeline, graph in pipelines_with_graphs(root):
    with DAG(
        dag_id=f"headrace_{pipeline.name}",
        description=pipeline.description,
        doc_md=__doc__,
        schedule=pipeline.schedule.cron,
        catchup=False,
        max_active_runs=1,
        default_args={"owner": pipeline.schedule.owner, "retries": pipeline.schedule.retries},
        tags=["headrace", *pipeline.schedule.tags],
    ):
        tasks = {stage: stage_task(stage, pipeline=pipeline.name, root=root) for stage in graph}
        for stage, upstream in graph.items():
            tasks[stage].set_upstream([tasks[before] for before in upstream])
