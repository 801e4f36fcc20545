"""From raw data to a registered champion: the stages of `dvc.yaml`, one task each, one DAG per pipeline.

Each run works in a workspace of its own, a clone of the project at the commit that was checked out when the run began,
with DVC's cache shared: runs may go on side by side, and nobody's working tree is touched. A task brings its stage up
to date with `dvc repro --single-item STAGE@PIPELINE`: a stage whose code, parameters and data have not changed costs
a second and runs nothing. What a task has made is pushed to DVC's remote; `dvc exp show` lists the run.

Where the source is partitions of a landing folder or bucket, a run waits for those of its own data interval, and reads
no other. Where there is a connection `ray_default`, training is a job on that cluster. Parameters of `params.yaml` can
be changed for one run in the trigger form. Schedule, retries, alerts, owner and tags are in the section `schedule`.
"""

from pathlib import Path

from airflow.sdk import DAG

from headrace.pipelines.airflow.assets import inlets_of, outlets_of
from headrace.pipelines.airflow.graph import dag_settings, pipelines_with_graphs
from headrace.pipelines.airflow.operator import stage_task
from headrace.pipelines.airflow.sensor import data_sensors

root = Path(__file__).resolve().parents[1]

for pipeline, graph in pipelines_with_graphs(root):
    with DAG(dag_id=f"headrace_{pipeline.name}", doc_md=__doc__, **dag_settings(pipeline, root)):
        tasks = {
            stage: stage_task(
                stage,
                pipeline=pipeline.name,
                root=root,
                inlets=inlets_of(stage, pipeline.name),
                outlets=outlets_of(stage, pipeline.name),
            )
            for stage in graph
        }
        for stage, upstream in graph.items():
            tasks[stage].set_upstream([tasks[before] for before in upstream])
        tasks["ingest"].set_upstream(data_sensors(pipeline, root))
