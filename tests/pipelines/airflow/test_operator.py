"""Stages as tasks, in a real git repository with DVC, whose stages are small shell commands."""

import contextlib
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import yaml


@pytest.fixture
def root(tmp_path: Path, repository: Path) -> Path:
    """A project with DVC and two stages; the path has a space in it."""
    root = tmp_path / "a project"
    root.mkdir()
    (root / "params.yaml").write_text((repository / "params.yaml").read_text())
    write_stages(root, train="cp examples model")
    subprocess.run(["git", "init", "--quiet", "."], cwd=root, check=True)
    dvc = Path(sys.executable).with_name("dvc")
    subprocess.run([dvc, "init", "--quiet"], cwd=root, check=True)
    subprocess.run([dvc, "remote", "add", "--quiet", "--default", "local", tmp_path / "remote"], cwd=root, check=True)
    commit(root)
    return root


def write_stages(root: Path, *, train: str) -> None:
    stages = {
        "train": {"cmd": train, "deps": ["examples"], "outs": ["model"]},
        "evaluate": {"cmd": "cp model evaluated", "deps": ["model"], "outs": ["evaluated"]},
    }
    content = {"stages": {name: {"matrix": {"pipeline": ["digits"]}, **stage} for name, stage in stages.items()}}
    (root / "dvc.yaml").write_text(yaml.safe_dump(content))
    (root / "examples").write_text("1\n")


def commit(root: Path) -> None:
    subprocess.run(["git", "add", "--all"], cwd=root, check=True)
    who = ["-c", "user.name=Test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", *who, "commit", "--quiet", "--message", "x"], cwd=root, check=True)


def task_of(root: Path, stage: str = "train"):
    """The task of a stage of the small project."""
    from headrace.pipelines.airflow.operator import stage_task

    return stage_task(stage, pipeline="digits", root=root)


def run(task: Any, conf: dict[str, Any] | None = None) -> Any:
    """The task, run as a worker does, as far as it calls Airflow."""
    place = SimpleNamespace(dag_id="headrace_digits", run_id="manual__1", task=task, xcom_pull=lambda **_: [])
    context = {"ti": place, "params": conf or {}, "dag_run": SimpleNamespace(conf=conf or {}), "outlet_events": {}}
    return task.execute(context)


def workspace(root: Path) -> Path:
    [found] = (root / ".headrace" / "workspaces").glob("[!.]*")
    return found


def test_a_task_has_its_stages_name(root):
    assert task_of(root).task_id == "train"


def test_a_task_runs_its_stage_and_no_other_in_a_workspace_of_its_run(root):
    kept = run(task_of(root))
    assert (workspace(root) / "model").read_text() == "1\n"
    assert not (workspace(root) / "evaluated").exists()
    assert not (root / "model").exists()
    shown = subprocess.run(["git", "for-each-ref", "refs/exps"], cwd=root, capture_output=True, text=True, check=True)
    assert kept["experiment"] in shown.stdout


def test_a_stage_runs_although_it_is_up_to_date_if_what_it_wrote_is_kept_nowhere(root):
    write_stages(root, train="cp examples model")
    content = yaml.safe_load((root / "dvc.yaml").read_text())
    content["stages"]["train"]["outs"] = [{"model": {"cache": False, "persist": True}}]
    (root / "dvc.yaml").write_text(yaml.safe_dump(content))
    (root / ".gitignore").write_text("/model\n/.headrace/\n")
    dvc = Path(sys.executable).with_name("dvc")
    subprocess.run([dvc, "repro", "--quiet", "train@digits"], cwd=root, check=True)
    commit(root)  # dvc.lock says that it is up to date, and git has no model
    run(task_of(root))
    assert (workspace(root) / "model").read_text() == "1\n"


def test_parameters_of_one_run_are_in_its_workspace_only(root):
    run(task_of(root), {"train.epochs": 3})
    assert yaml.safe_load((workspace(root) / "params.yaml").read_text())["digits"]["train"]["epochs"] == 3
    assert yaml.safe_load((root / "params.yaml").read_text())["digits"]["train"]["epochs"] == 12


@pytest.mark.parametrize("conf", [{"train.epoch": 3}, {"train.epochs": 0}], ids=["unknown", "out of range"])
def test_a_parameter_that_is_wrong_fails_before_any_work(root, conf):
    from headrace.components.errors import ParamsError

    with pytest.raises(ParamsError, match="epoch"):
        run(task_of(root), conf)
    assert not (workspace(root) / "model").exists()


@pytest.mark.parametrize(("exit_code", "cause"), [(2, "MISTAKE"), (75, "SERVICE"), (1, "UNKNOWN")])
def test_a_stage_that_fails_fails_its_task_by_its_cause(root, exit_code, cause):
    from headrace.pipelines.airflow.retry_policy import StageFailed

    write_stages(root, train=f"echo 'error: no such thing'; exit {exit_code}")
    commit(root)
    with pytest.raises(StageFailed, match="no such thing") as failed:
        run(task_of(root))
    assert failed.value.cause.name == cause


def test_a_kill_ends_the_stage(root):
    from headrace.pipelines.airflow.retry_policy import StageFailed

    write_stages(root, train=f"echo $$ > '{root / 'started'}'; sleep 1000")
    commit(root)
    task = task_of(root)

    def kill_when_started() -> None:
        while not (root / "started").exists():
            time.sleep(0.05)
        task.on_kill()

    killer = threading.Thread(target=kill_when_started)
    killer.start()
    with pytest.raises(StageFailed):
        run(task)
    killer.join(timeout=10)
    assert not killer.is_alive()
    stage = int((root / "started").read_text())
    with contextlib.suppress(psutil.NoSuchProcess):
        assert psutil.Process(stage).status() == psutil.STATUS_ZOMBIE  # ended; its new parent has not yet collected it


def test_a_task_on_another_machine_goes_on_from_the_repository_and_the_remote(root, monkeypatch, tmp_path):
    monkeypatch.setenv("HEADRACE_REPOSITORY", root.as_uri())
    machines = {stage: tmp_path / f"machine of {stage}" for stage in ("train", "evaluate")}
    for stage, machine in machines.items():
        subprocess.run(["git", "clone", "--quiet", root, machine], check=True)
        assert run(task_of(machine, stage))["experiment"] == workspace(machine).name
    assert (workspace(machines["evaluate"]) / "evaluated").read_text() == "1\n"
    shown = subprocess.run(["git", "for-each-ref", "refs/exps"], cwd=root, capture_output=True, text=True, check=True)
    assert len(shown.stdout.splitlines()) == 1


def test_the_stage_that_reads_a_database_gets_the_address_of_airflows_connection_and_no_other_stage(root, monkeypatch):
    address = {"conn_type": "postgres", "host": "db.example", "login": "ann", "password": "S3CRET", "schema": "shop"}
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", json.dumps(address))
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["digits"] = params["titanic"]
    params["digits"]["ingest"]["source"] = {"kind": "sql", "query": "rows.sql", "connection": "shop"}
    (root / "params.yaml").write_text(yaml.safe_dump({"pipelines": ["digits"], "digits": params["digits"]}))
    (root / "rows.sql").write_text("SELECT 1")
    stages = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]
    matrix = {"matrix": {"pipeline": ["digits"]}}
    stages["ingest"] = {**matrix, "cmd": "printenv HEADRACE_CONNECTION_SHOP > read", "outs": ["read"]}
    stages["normalize"] = {**matrix, "cmd": "! printenv HEADRACE_CONNECTION_SHOP && touch done", "outs": ["done"]}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    commit(root)
    for stage in ("ingest", "normalize"):
        run(task_of(root, stage))
    assert (workspace(root) / "read").read_text() == "postgresql://ann:S3CRET@db.example/shop\n"
    assert (workspace(root) / "done").exists()


def test_openlineage_gets_what_a_stage_read_and_wrote(root: Path):
    pytest.importorskip("airflow.providers.openlineage", reason="needs apache-airflow-providers-openlineage")
    task = task_of(root)
    assert task.get_openlineage_facets_on_complete(None) is None
    run(task)
    found = task.get_openlineage_facets_on_complete(None)
    [read], [written] = found.inputs, found.outputs
    assert (read.name, written.name) == ("examples", "model")
    assert read.namespace == written.namespace == str(root)
    assert read.facets["version"].datasetVersion == written.facets["version"].datasetVersion  # `cp`
