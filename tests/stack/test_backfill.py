"""A pipeline whose data arrives by the day, made up for three days of the past on the stack."""

import json
import subprocess
import time

import numpy as np
import pytest
import yaml

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(900)]

DAYS = ("2026-11-17", "2026-11-18", "2026-11-19")
ROWS = {day: 200 + 50 * number for number, day in enumerate(DAYS)}
DAG = "headrace_flow"


@pytest.fixture
def pipeline(stack, tmp_path):
    """A new section of the clone's params.yaml, committed, and a landing folder with three days."""
    landing = tmp_path / "landing"
    for day, rows in ROWS.items():
        random = np.random.default_rng(rows)
        level, rain = random.random(rows), random.random(rows)
        lines = [f"{one:.6f},{two:.6f},{3 * one + two:.6f}" for one, two in zip(level, rain, strict=True)]
        (landing / f"date={day}").mkdir(parents=True)
        (landing / f"date={day}" / "flow.csv").write_text("\n".join(["level,rain,flow", *lines]) + "\n")
    number = {"type": "number"}
    section = {
        "description": "Flow by level and rain",
        "ingest": {
            "source": {"kind": "delimited", "dataset": "flow", "partitions": {"root": str(landing)}},
            "features": {"level": number, "rain": number},
            "label": {"type": "number", "name": "flow"},
        },
        "normalize": {"transforms": {"level": [{"kind": "standardize"}], "rain": [{"kind": "standardize"}]}},
        "split": {"seed": 1, "validation_fraction": 0.1, "test_fraction": 0.2},
        "train": {
            "model": {"layers": []},
            "optimizer": {"kind": "adam", "learning_rate": 0.05},
            "global_batch_size": 32,
            "epochs": 5,
        },
        "evaluate": {},
        "register": {"thresholds": {}, "compare_by": "root_mean_squared_error"},
        "schedule": {"cron": "0 0 * * *", "max_active_runs": 3},
    }
    file = stack.root / "params.yaml"
    before = file.read_text()
    params = before.replace("pipelines: [", "pipelines: [flow, ", 1) + "\n" + yaml.safe_dump({"flow": section})
    commit(stack, params)
    yield landing
    commit(stack, before)


def commit(stack, params: str) -> None:
    (stack.root / "params.yaml").write_text(params)
    git = ["git", "-c", "user.name=Test", "-c", "user.email=test@localhost", "commit", "--quiet", "--all"]
    subprocess.run([*git, "--message", "Params"], cwd=stack.root, check=True)


def runs_of_backfill(stack) -> dict[str, str]:
    runs = stack.airflow("GET", f"/dags/{DAG}/dagRuns").get("dag_runs", [])
    return {run["data_interval_start"][:10]: run["state"] for run in runs if run["run_type"] == "backfill"}


def wait_for(reached, seconds: float) -> None:
    deadline_seconds = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline_seconds
        time.sleep(2)


def test_a_backfill_reads_each_day_as_its_own_run_would_have(stack, pipeline):
    wait_for(lambda: stack.airflow("GET", f"/dags/{DAG}").get("dag_id") == DAG, 120)
    stack.airflow("PATCH", f"/dags/{DAG}", {"is_paused": False})
    dates = ["--from-date", DAYS[0], "--to-date", DAYS[-1]]
    stack.call("airflow", "backfill", "create", "--dag-id", DAG, *dates, "--max-active-runs", "3")
    wait_for(lambda: set(runs_of_backfill(stack).values()) <= {"success", "failed"} and runs_of_backfill(stack), 600)
    assert runs_of_backfill(stack) == dict.fromkeys(DAYS, "success")
    for day in DAYS:
        [workspace] = (stack.root / ".headrace" / "workspaces").glob(f"{DAG}-backfill__{day}*")
        counts = json.loads((workspace / "reports" / "flow" / "ingest.json").read_text())
        assert counts["rows_read"] == ROWS[day]
