"""Where a task's links lead."""

from types import SimpleNamespace

import pytest

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
