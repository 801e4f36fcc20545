"""Links of a report to the pages of other programs."""

from pathlib import Path
from typing import Any

import pytest

from headrace.pipelines.artifacts.run_record import RunFile
from headrace.pipelines.tracking.pages import pages_of

DIGESTS = ("identity_digest", "data_digest", "weights_digest", "model_sha256", "history_sha256")


def a_run(**changes: Any) -> RunFile:
    fields: dict[str, Any] = {
        "pipeline": "digits",
        "run_name": "digits-1",
        "mlflow_experiment": "headrace/digits",
        "mlflow_run_id": None,
        "ray_job_id": "headrace-digits 1",
        "identity": {},
        "git_commit": "c" * 40,
        "git_dirty": False,
        "num_workers": 2,
        "groups": (),
        "owner": "digits/manual__2026-11-30T00:00:00+00:00",
        "started_at": "2026-11-30T00:00:00Z",
        "trained_at": "2026-11-30T00:01:00Z",
        "epochs": 2,
        "best_epoch": 1,
    }
    return RunFile.model_validate(fields | dict.fromkeys(DIGESTS, "0" * 64) | changes)


def test_servers_that_are_known_give_links_without_passwords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "https://ann:secret@ray.example:8265/?token=x")
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://airflow.example:8080/air/")
    assert pages_of(tmp_path, a_run()) == {
        "Ray job, page": "https://ray.example:8265/#/jobs/headrace-digits%201",
        "DAG run, page": "http://airflow.example:8080/air/dags/digits/runs/manual__2026-11-30T00%3A00%3A00%2B00%3A00",
    }


@pytest.mark.parametrize("address", ["auto", "10.0.0.1:6379", "ray://10.0.0.1:10001", "javascript:alert(1)", ""])
def test_what_is_no_page_is_no_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://airflow.example:8080")
    assert pages_of(tmp_path, a_run(owner="hand")) == {}


def test_a_training_in_the_process_has_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://ray.example:8265")
    assert pages_of(tmp_path, a_run(ray_job_id="embedded", owner="hand")) == {}
