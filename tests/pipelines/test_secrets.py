"""Secrets of addresses are in no output, log, MLflow run or notification, whatever quotes them."""

import os
import subprocess
import sys

import pytest
import structlog
import yaml

SECRET = "S3CRETPW"
ADDRESSES = [f"https://ann:{SECRET}@127.0.0.1:1/x.csv", f"https://127.0.0.1:1/x.csv?X-Amz-Signature={SECRET}&a=b"]


@pytest.mark.parametrize(("address", "exit_code"), [(ADDRESSES[0], 2), (ADDRESSES[1], 75)])
def test_a_stage_that_can_not_use_an_address_does_not_quote_its_secret(tmp_path, repository, address, exit_code):
    params = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    file = {"name": "rows.csv", "url": address, "timeout_seconds": 1}
    params["titanic"]["ingest"]["source"] = {"kind": "delimited", "dataset": "x", "parts": [{"files": [file]}]}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-m", "headrace", "ingest", "titanic"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode == exit_code, said
    assert "127.0.0.1:1/x.csv" in said
    assert SECRET not in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("address", "exit_code", "said"),
    [
        (f"postgresql://ann:{SECRET}@127.0.0.1:1/shop", 75, "connection shop: connection to server at"),
        (f"postgresql://ann:x/{SECRET}@127.0.0.1/shop", 2, "HEADRACE_CONNECTION_SHOP: expected postgresql://HOST"),
        (f"mysql://ann:{SECRET}@127.0.0.1/shop", 2, "HEADRACE_CONNECTION_SHOP: expected postgresql://HOST"),
    ],
)
def test_a_stage_that_can_not_use_a_database_does_not_quote_its_address(tmp_path, repository, address, exit_code, said):
    params = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    params["titanic"]["ingest"]["source"] = {"kind": "sql", "query": "rows.sql", "connection": "shop"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"pipelines": ["titanic"], "titanic": params["titanic"]}))
    (tmp_path / "rows.sql").write_text("SELECT 1")
    ended = subprocess.run(
        [sys.executable, "-m", "headrace", "ingest", "titanic"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(repository), "HEADRACE_CONNECTION_SHOP": address},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    printed = ended.stdout + ended.stderr
    assert ended.returncode == exit_code, printed
    assert said in printed
    assert SECRET not in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("address", ADDRESSES)
def test_logs_and_tracebacks_hide_it(capsys, address):
    from headrace.pipelines.__main__ import _show_traceback, configure_logging

    configure_logging()
    structlog.get_logger().warning("requested", url=address, several=[address])
    try:
        raise ValueError(f"no {address}")
    except ValueError as error:
        _show_traceback(type(error), error, error.__traceback__)
    said = capsys.readouterr().err
    assert said.count("127.0.0.1:1/x.csv") == 3
    assert SECRET not in said


@pytest.mark.parametrize("address", ADDRESSES)
def test_mlflows_parameters_and_tags_hide_it(project_root, address):
    from headrace.pipelines.tracking.mlflow_runs import close_run, open_run
    from headrace.pipelines.tracking.server import connect

    run_id = open_run(project_root, experiment="x", run_name="x", tags={"from": address}, params={"a": {"b": address}})
    close_run(project_root, run_id, status="FAILED", reason=f"can't read {address}")
    run = connect(project_root).get_run(run_id)
    said = str(run.data.params) + str(run.data.tags)
    assert said.count("127.0.0.1:1/x.csv") == 3
    assert SECRET not in said


@pytest.mark.parametrize("address", ADDRESSES)
def test_airflow_is_notified_without_it(address):
    from headrace.pipelines.airflow.retry_policy import stage_failed

    failed = stage_failed("ingest@x", output=[f"error: can't read {address}"], exit_code=75)
    assert "127.0.0.1:1/x.csv" in str(failed)
    assert SECRET not in str(failed) + failed.last_error


def test_what_is_found_is_shortened_after_its_secrets_are_out(tmp_path, repository):
    from headrace.components.errors import ParamsError
    from headrace.pipelines.params import load_pipeline

    params = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    params["digits"]["train"]["epochs"] = "x" * 190 + f" https://ann:{SECRET * 9}@host/x"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    with pytest.raises(ParamsError) as raised:
        load_pipeline(tmp_path / "params.yaml", "digits")
    assert "S3CR" not in str(raised.value)
    assert len(str(raised.value)) < 350


def test_doctor_hides_those_of_the_environment(tmp_path, monkeypatch, capsys):
    from headrace.pipelines.commands.diagnosis import checks
    from headrace.pipelines.commands.doctor import _print
    from headrace.pipelines.paths import ProjectPaths

    monkeypatch.setenv("RAY_ADDRESS", f"ray://ann:{SECRET}@127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:{SECRET}@127.0.0.1:1/?token={SECRET}")
    for check in (checks.ray, checks.mlflow):
        for finding in check(ProjectPaths(tmp_path)):
            _print(finding)
    said = capsys.readouterr().out
    assert said.count("can't be reached") == 2
    assert SECRET not in said


def test_dvc_and_git_hide_those_of_remotes(tmp_path):
    from headrace.components.errors import ServiceError
    from headrace.pipelines.project.command_lines import git

    with pytest.raises(ServiceError) as raised:
        git(tmp_path, "clone", "--quiet", f"http://ann:{SECRET}@127.0.0.1:1/x.git?token={SECRET}")
    assert "127.0.0.1:1/x.git" in str(raised.value)
    assert SECRET not in str(raised.value)
