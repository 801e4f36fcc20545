"""Where a task's links lead."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from headrace.pipelines.artifacts.artifact import write_artifact
from headrace.pipelines.artifacts.run_record import RunFile
from headrace.pipelines.paths import PipelinePaths

RUN = "http://127.0.0.1:5000/#/experiments/1/runs/a1"


@pytest.mark.parametrize(
    ("stage", "mlflow_url", "address"),
    [
        ("evaluate", RUN, f"{RUN}/artifacts/evaluation/report.html"),  # where the stage logs it
        ("register", RUN, f"{RUN}/artifacts/evaluation/decision.html"),
        ("split", RUN, ""),
        ("evaluate", None, ""),
    ],
)
def test_the_report_is_among_the_artifacts_of_the_run(stage, mlflow_url, address):
    from headrace.pipelines.airflow.links import ReportLink

    operator = SimpleNamespace(stage=stage, mlflow_url=mlflow_url)
    assert ReportLink().get_link(operator, ti_key=None) == address


@pytest.fixture
def run_file(tmp_path) -> Path:
    """run.json of a model that MLflow's run a1 has trained."""
    file = PipelinePaths(tmp_path, "digits").run
    texts = ("run_name", "mlflow_experiment", "ray_job_id", "identity_digest", "data_digest", "git_commit", "owner")
    digests = ("weights_digest", "model_sha256", "history_sha256")
    run = RunFile(
        pipeline="digits",
        mlflow_run_id="a1",
        identity={},
        git_dirty=False,
        num_workers=2,
        groups=(),
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        trained_at=datetime(2026, 1, 1, tzinfo=UTC),
        epochs=1,
        best_epoch=1,
        **dict.fromkeys((*texts, *digests), "d"),
    )
    file.parent.mkdir(parents=True)
    write_artifact(file, run)
    return file


@pytest.fixture
def mlflow_server(monkeypatch, web_server) -> Iterator[str]:
    """An MLflow that knows the run a1, of experiment 7, and no other."""

    def answer(request) -> tuple[int, bytes]:
        return 200 if request.path.endswith("run_id=a1") else 404, b'{"run": {"info": {"experiment_id": "7"}}}'

    with web_server(answer) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        yield address


def test_the_run_of_the_present_model_is_found_by_its_experiment(tmp_path, run_file, mlflow_server):
    from headrace.pipelines.airflow.links import mlflow_address

    assert mlflow_address(tmp_path, "digits") == f"{mlflow_server}/#/experiments/7/runs/a1"


@pytest.mark.parametrize("change", [Path.unlink, lambda file: file.write_text("{"), lambda file: file.write_text("{}")])
def test_a_run_json_that_is_missing_or_damaged_has_no_page(tmp_path, run_file, mlflow_server, change):
    from headrace.pipelines.airflow.links import mlflow_address

    change(run_file)
    assert mlflow_address(tmp_path, "digits") is None
