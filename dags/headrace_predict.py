"""Batch prediction: whenever a pipeline has a new champion, or new data, its raw rows are predicted again.

One DAG per pipeline with a section `schedule.predict` in `params.yaml`: `input` is a table or a folder of images,
`output` a folder, which gets a Parquet file for each run. `after` says what the DAG waits for: `champion`, which
`register` publishes when a new model is made champion, or `dataset`, which `split` publishes.
"""

from pathlib import Path

from airflow.sdk import DAG

from headrace.pipelines.airflow.assets import any_of
from headrace.pipelines.airflow.command import CommandOperator
from headrace.pipelines.airflow.graph import dag_settings, pipelines_with_graphs

root = Path(__file__).resolve().parents[1]

for pipeline, _ in pipelines_with_graphs(root):
    if (wanted := pipeline.schedule.predict) is None:
        continue
    settings = {**dag_settings(pipeline, root), "schedule": any_of(pipeline.name, wanted.after), "params": {}}
    with DAG(dag_id=f"headrace_{pipeline.name}_predict", doc_md=__doc__, **settings):
        output = f"{wanted.output}/{{{{ run_id | replace(':', '') }}}}.parquet"
        command = ["predict", pipeline.name, "--input", wanted.input, "--output", output]
        CommandOperator(task_id="predict", command=command, root=root)
