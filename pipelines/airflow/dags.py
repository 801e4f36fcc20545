"""The DAGs of a project: for each pipeline its stages and its predictions, and maintenance for all."""

from datetime import UTC, datetime
from pathlib import Path

from airflow.sdk import DAG, get_parsing_context, task
from airflow.sdk.exceptions import AirflowFailException

from headrace.components.errors import ParamsError
from headrace.pipelines.airflow.assets import any_of, inlets_of, outlets_of, predicted_of
from headrace.pipelines.airflow.command import CommandOperator
from headrace.pipelines.airflow.dag_run import remove_unused_workspaces
from headrace.pipelines.airflow.operator import stage_task
from headrace.pipelines.airflow.sensor import data_sensors
from headrace.pipelines.airflow.task_graph import (
    cron_schedule,
    dag_of,
    dag_settings,
    monitoring_of,
    names_of,
    pipeline_with_graph_loader,
    predictions_of,
)
from headrace.pipelines.params import Pipeline
from headrace.pipelines.project.stage_graph import StageGraph
from headrace.pipelines.schedule import Monitoring, Prediction

WORKSPACE_DAYS = 14

_STAGES = """From raw data to a registered champion: the stages of `dvc.yaml`, one task each.

Each run works in a workspace of its own, a clone of the project at the commit that was checked out when the run
started, with DVC's cache shared: runs may continue side by side, and nobody's working tree is touched. A task runs
`dvc repro --single-item STAGE@PIPELINE`: a stage whose parameters, data and versions have not changed costs a second
and runs nothing. What a task has made is pushed to DVC's remote; `dvc exp show` lists the run.

Where the source is partitions of a landing folder or bucket, a run waits for those of its own data interval, and reads
no other. Where there is a connection `ray_default`, training is a job on that cluster. Parameters of `params.yaml` can
be changed for one run in the trigger form. Schedule, retries, alerts, owner and tags are in the section `schedule`.
"""
_PREDICTIONS = """Batch prediction: raw rows are predicted again whenever a pipeline has a new champion or new data.

`schedule.predict` in `params.yaml` says what is read and where each run's Parquet file is written. `after` says what
the DAG waits for: `champion`, which `register` publishes when a new model is made champion, or `dataset`, which `split`
publishes.
"""
_MONITORING = """Predictions of the champion against what it was trained on, and against labels once there are some.

`schedule.monitor` in `params.yaml` says what is read and when; the section `monitor` has the limits. The task fails
where one is crossed, without a retry, and `schedule.alerts` report it with the first findings. The page is
reports/PIPELINE/monitoring/monitoring.html.
"""
_MAINTENANCE = """Every hour: MLflow runs that nobody trains any more get their status, and unused workspaces go.

Whether a run is still trained is read from its Ray job, or from its process on this machine. A workspace goes when it
was not used for two weeks; what its run has made is in DVC's remote, and listed by `dvc exp show`.
"""


def project_dags(root: Path) -> list[DAG]:
    """All DAGs of the project in `root`, for a file of Airflow's DAGs folder; in a task, those of its pipeline alone.

    A pipeline whose section is wrong has a DAG that says so and never runs: the others continue.
    """
    dags = [maintenance_dag(root)]
    load = pipeline_with_graph_loader(root)
    for name in names_of(root, get_parsing_context().dag_id):
        try:
            pipeline, graph = load(name)
            dags.append(stages_dag(pipeline, graph, root))
        except ParamsError as error:
            dags.append(broken_dag(name, str(error)))
            continue
        if prediction := pipeline.schedule.predict:
            dags.append(prediction_dag(pipeline, prediction, root))
        if monitoring := pipeline.schedule.monitor:
            dags.append(monitoring_dag(pipeline, monitoring, root))
    return dags


def stages_dag(pipeline: Pipeline, graph: StageGraph, root: Path) -> DAG:
    """`headrace_PIPELINE`: a task for each stage, with the edges of dvc.yaml."""
    settings = dag_settings(pipeline)
    form = settings.pop("params")
    with DAG(dag_id=dag_of(pipeline.name), doc_md=_STAGES, **settings) as dag:
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
    # Now that all tasks are there: each one that is made would copy the form, twice. A run's tasks get it from the DAG.
    dag.params = form
    return dag


def prediction_dag(pipeline: Pipeline, prediction: Prediction, root: Path) -> DAG:
    """`headrace_PIPELINE_predict`, for a pipeline with a section `schedule.predict`."""
    settings = {**dag_settings(pipeline), "schedule": any_of(pipeline.name, prediction.after), "params": {}}
    with DAG(dag_id=predictions_of(pipeline.name), doc_md=_PREDICTIONS, **settings) as dag:
        output = f"{prediction.output}/{{{{ run_id | replace(':', '') }}}}.parquet"
        command = ["predict", pipeline.name, "--input", prediction.input, "--output", output, "--keep-inputs"]
        CommandOperator(task_id="predict", command=command, root=root, outlets=[predicted_of(pipeline.name)])
    return dag


def monitoring_dag(pipeline: Pipeline, monitoring: Monitoring, root: Path) -> DAG:
    """`headrace_PIPELINE_monitor`, for a pipeline with a section `schedule.monitor`."""
    after = cron_schedule(monitoring.cron, timezone=pipeline.schedule.timezone) or [predicted_of(pipeline.name)]
    settings = {**dag_settings(pipeline), "schedule": after, "params": {}, "max_active_runs": 1}
    predict = pipeline.schedule.predict
    command = ["monitor", pipeline.name, "--input", monitoring.input or (predict.output if predict else "")]
    command += ["--labels", monitoring.labels] if monitoring.labels else []
    command += ["--since", f"{monitoring.window_days:g}d"] if monitoring.window_days is not None else []
    with DAG(dag_id=monitoring_of(pipeline.name), doc_md=_MONITORING, **settings) as dag:
        CommandOperator(task_id="monitor", command=command, root=root)
    return dag


def broken_dag(pipeline: str, error: str) -> DAG:
    """`headrace_PIPELINE` of a section that can't be read: its only task fails with the reason."""
    with DAG(
        dag_id=dag_of(pipeline),
        description=f"broken: {error}"[:200],
        doc_md=f"This pipeline can't run:\n\n```\n{error}\n```\n\nAirflow reads it again once params.yaml is fixed.",
        schedule=None,
        tags=["headrace", "broken"],
    ) as dag:

        @task
        def read_params() -> None:
            raise AirflowFailException(error)

        read_params()
    return dag


def maintenance_dag(root: Path) -> DAG:
    """`headrace_maintenance`, hourly."""
    with DAG(
        dag_id="headrace_maintenance",
        doc_md=_MAINTENANCE,
        schedule="@hourly",
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        tags=["headrace"],
    ) as dag:
        CommandOperator(task_id="sweep", command=["runs", "sweep"], root=root)

        @task
        def remove_workspaces() -> list[str]:
            """Remove the workspaces that no task has used for two weeks, and return their names."""
            return remove_unused_workspaces(root, older_than_days=WORKSPACE_DAYS)

        remove_workspaces()
    return dag
