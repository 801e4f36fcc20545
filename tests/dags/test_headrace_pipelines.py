"""The DAGs: made from dvc.yaml, cheap to parse, and run to a champion."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.pipelines.params import list_pipelines, load_pipeline

HEAVY = {"tensorflow", "keras", "ray", "mlflow", "polars", "pyarrow", "sklearn", "matplotlib", "dvc"}

# What Airflow's parser does, in a process that has loaded nothing yet, and what YAML is read on the way.
PARSE = """
import importlib.util, json, pathlib, sys, yaml
from airflow.sdk import DAG
read, parse = [], yaml.parse
yaml.parse = lambda text, Loader: (read.append(hash(text)), parse(text, Loader=Loader))[1]
dags = {}
for file in sorted(pathlib.Path("dags").glob("*.py")):
    spec = importlib.util.spec_from_file_location(f"dag_file_{file.stem}", file)
    module = importlib.util.module_from_spec(spec)
    made = []
    leave = DAG.__exit__
    DAG.__exit__ = lambda dag, *error: (made.append(dag), leave(dag, *error))[1]
    spec.loader.exec_module(module)
    DAG.__exit__ = leave
    for dag in made:
        dags[dag.dag_id] = {
            "edges": sorted([before, task.task_id] for task in dag.tasks for before in task.upstream_task_ids),
            "tasks": sorted(dag.task_ids), "doc": dag.doc_md,
            "schedule": repr(getattr(dag.timetable, "asset_condition", dag.schedule)),
            "max_active_runs": dag.max_active_runs,
            "owners": sorted({task.owner for task in dag.tasks}),
            "retries": sorted({task.retries for task in dag.tasks}),
            "form": sorted(dag.params), "forms_of_tasks": sum(len(task.params) for task in dag.tasks),
        }
modules = sorted({name.split(".")[0] for name in sys.modules})
json.dump({"dags": dags, "read": read, "modules": modules}, sys.stdout)
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """An Airflow of its own: home, configuration and SQLite database."""
    home = tmp_path_factory.mktemp("airflow")
    ours = ("AIRFLOW", "MLFLOW_TRACKING_URI", "RAY_ADDRESS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "HOME": str(home), "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}


@pytest.fixture(scope="module")
def parsed(repository: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    return parse(repository, environment)


def parse(root: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-c", PARSE]
    ended = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    content: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return content


def test_parsing_loads_nothing_heavy(parsed):
    assert HEAVY.intersection(parsed["modules"]) == set()


def test_parsing_reads_params_and_graph_once_for_all_pipelines(parsed):
    """Each takes 0.1 s, and Airflow's parser reads the DAG files over and over: once for each pipeline is seconds."""
    assert len(parsed["read"]) == len(set(parsed["read"])) == 2


def test_every_pipeline_has_a_dag(repository, parsed):
    names = list_pipelines(repository / "params.yaml")
    assert set(parsed["dags"]) == {"headrace_maintenance", *(f"headrace_{name}" for name in names)}


def test_tasks_and_edges_are_those_that_dvc_sees(repository, parsed):
    command = [Path(sys.executable).with_name("dvc"), "dag", "--dot"]
    lines = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True).stdout.splitlines()
    names = [line.strip(" ;").replace('"', "") for line in lines if "@" in line and "own_code" not in line]
    for dag_id, dag in parsed["dags"].items():
        if dag_id == "headrace_maintenance":
            continue
        suffix = f"@{dag_id.removeprefix('headrace_')}"
        own = [name.replace(suffix, "") for name in names if name.endswith(suffix)]
        assert dag["tasks"] == sorted({name for name in own if "->" not in name})
        assert dag["edges"] == sorted(name.split(" -> ") for name in own if "->" in name)


def test_a_dag_carries_its_documentation_and_its_schedule(repository, parsed):
    for name in list_pipelines(repository / "params.yaml"):
        schedule = load_pipeline(repository / "params.yaml", name).schedule
        dag = parsed["dags"][f"headrace_{name}"]
        assert "dvc repro --single-item" in dag["doc"]
        assert dag["max_active_runs"] == schedule.max_active_runs
        assert dag["owners"] == [schedule.owner]
        assert dag["retries"] == [schedule.retries]


def test_the_form_is_the_dags_and_no_task_has_a_copy(parsed):
    """Airflow would copy it for each task as it is made: of 1,000 pipelines, three quarters of the time to parse."""
    digits = parsed["dags"]["headrace_digits"]
    assert "train.epochs" in digits["form"]
    assert {dag["forms_of_tasks"] for dag in parsed["dags"].values()} == {0}


def copy_project(repository: Path, root: Path) -> dict[str, Any]:
    """Copy what DAGs are made from; the content of params.yaml."""
    for file in ("params.yaml", "dvc.yaml", *(f"dags/{path.name}" for path in (repository / "dags").glob("*.py"))):
        (root / file).parent.mkdir(exist_ok=True)
        (root / file).write_text((repository / file).read_text())
    content: dict[str, Any] = yaml.safe_load((repository / "params.yaml").read_text())
    return content


def test_a_task_builds_the_dag_of_its_pipeline_alone(repository, environment):
    asked = {**environment, "_AIRFLOW_PARSING_CONTEXT_DAG_ID": "headrace_digits"}
    assert set(parse(repository, asked)["dags"]) == {"headrace_maintenance", "headrace_digits"}


def test_a_broken_pipeline_says_so_and_leaves_the_others_alone(
    repository, environment, parsed, tmp_path, copy_model_files
):
    copy_model_files(tmp_path)
    params = copy_project(repository, tmp_path)
    params["digits"]["train"]["epochs"] = -1
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    found = parse(tmp_path, environment)["dags"]
    assert found.keys() == parsed["dags"].keys()
    assert "digits.train.epochs" in found["headrace_digits"]["doc"]
    assert found["headrace_digits"]["tasks"] == ["read_params"]
    assert {name: dag["tasks"] for name, dag in found.items() if name != "headrace_digits"} == {
        name: dag["tasks"] for name, dag in parsed["dags"].items() if name != "headrace_digits"
    }


def test_a_pipeline_with_predictions_has_a_dag_for_them(repository, environment, tmp_path, copy_model_files):
    params = copy_project(repository, tmp_path)
    predict = {"input": "landing/passengers.csv", "output": "predictions", "after": ["champion", "dataset"]}
    params["titanic"]["schedule"] = {"predict": predict}
    copy_model_files(tmp_path)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    params["titanic"]["schedule"]["monitor"] = {"labels": "landing/labels", "window_days": 7}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    dags = parse(tmp_path, environment)["dags"]
    assert dags["headrace_titanic_monitor"]["tasks"] == ["monitor"]
    assert "headrace_titanic_predictions" in dags["headrace_titanic_monitor"]["schedule"]
    dag = dags["headrace_titanic_predict"]
    assert dag["tasks"] == ["predict"]
    assert "titanic/champion" in dag["schedule"]
    assert "titanic/dataset" in dag["schedule"]


def test_a_pipeline_with_partitions_waits_for_them(repository, environment, tmp_path, parsed, copy_model_files):
    params = copy_project(repository, tmp_path)
    partitions = {"root": "/landing/passengers"}
    params["titanic"]["ingest"]["source"] = {"kind": "delimited", "dataset": "titanic", "partitions": partitions}
    copy_model_files(tmp_path)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    edges = parse(tmp_path, environment)["dags"]["headrace_titanic"]["edges"]
    assert edges == sorted([*parsed["dags"]["headrace_titanic"]["edges"], ["wait_for_data", "ingest"]])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_airflow_runs_digits_to_a_champion(environment: Mapping[str, str], tmp_path: Path, copy_repository):
    root = copy_repository(tmp_path / "a clone")
    commit(root)
    environment = {**environment, "AIRFLOW__CORE__DAGS_FOLDER": str(root / "dags")}
    airflow(root, environment, "db", "migrate")
    output = airflow(root, environment, "dags", "test", "headrace_digits")
    [reports] = (root / ".headrace" / "workspaces").glob("*/reports/digits")
    assert json.loads((reports / "registration.json").read_text())["alias"] == "champion", output
    assert json.loads((reports / "metrics.json").read_text())["accuracy"] >= 0.96
    assert not (root / "models" / "digits").exists()  # the working tree is not touched
    assert reports.parents[1].name in experiments(root)


def experiments(root: Path) -> str:
    command = [Path(sys.executable).with_name("dvc"), "exp", "list", "--all-commits"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout


def commit(root: Path) -> None:
    git = ["git", "-c", "user.name=Test", "-c", "user.email=test@localhost"]
    for command in (["add", "--all"], ["commit", "--quiet", "--message", "Copy"]):
        subprocess.run([*git, *command], cwd=root, check=True)


def airflow(root: Path, environment: Mapping[str, str], *arguments: str) -> str:
    command = [Path(sys.executable).with_name("airflow"), *arguments]
    ended = subprocess.run(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout[-8000:]
    return ended.stdout
