"""A run for a model whose own run this MLflow does not know, such as one restored from DVC's cache."""

from collections.abc import Mapping

import structlog

from headrace.components.files.tables import read_csv
from headrace.pipelines.artifacts.run_record import RunFile
from headrace.pipelines.paths import PipelinePaths
from headrace.pipelines.tracking.mlflow_runs import add_to_run, close_run, log_epoch, open_run
from headrace.pipelines.tracking.run_dataset import RunDataset

log = structlog.get_logger()


def restore_run(
    paths: PipelinePaths,
    run: RunFile,
    *,
    metrics: Mapping[str, float],
    params: Mapping[str, object],
    dataset: RunDataset | None = None,
) -> str:
    """Create a run, tagged headrace.restored, from the files of the training and the test; its id."""
    origin = {f"headrace.{name}": str(value) for name, value in run if value is not None}
    run_id = open_run(
        paths.root,
        experiment=run.mlflow_experiment,
        run_name=run.run_name,
        tags={**origin, "headrace.restored": "true"},
        params=params,
        dataset=dataset,
    )
    if paths.history.is_file():
        for row in read_csv(paths.history).iter_rows(named=True):
            epoch = int(row.pop("epoch"))
            log_epoch(paths.root, run_id, epoch=epoch, metrics={k: v for k, v in row.items() if v is not None})
    present = [path for path in (paths.metrics, paths.plots, paths.report) if path.exists()]
    add_to_run(paths.root, run_id, metrics=metrics, artifacts=present, artifact_path="evaluation")
    close_run(
        paths.root, run_id, status="FINISHED", reason="restored: trained elsewhere, by the run that is named here"
    )
    log.info("the model's own run is unknown to this MLflow: a new one says so", own=run.mlflow_run_id, new=run_id)
    return run_id
