"""A pipeline whose data arrives by the day: past days are processed later, and a new champion predicts immediately."""

import json
import time

import numpy as np
import polars as pl
import pytest

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(1800)]

DAYS = ("2026-11-17", "2026-11-18", "2026-11-19")
ROWS = {day: 200 + 50 * number for number, day in enumerate(DAYS)}
NUMBER = {"type": "number"}


@pytest.fixture
def landing(tmp_path):
    """A landing folder with three days, each of its own length."""
    folder = tmp_path / "landing"
    for day, rows in ROWS.items():
        (folder / f"date={day}").mkdir(parents=True)
        table = flow(rows).with_columns(flow=3 * pl.col("level") + pl.col("rain"))
        table.write_csv(folder / f"date={day}" / "flow.csv")
    return folder


def flow(rows: int) -> pl.DataFrame:
    random = np.random.default_rng(rows)
    return pl.DataFrame({"level": random.random(rows), "rain": random.random(rows)})


def section(landing, **schedule):
    return {
        "description": "Flow by level and rain",
        "ingest": {
            "source": {"kind": "delimited", "dataset": "flow", "partitions": {"root": str(landing)}},
            "features": {"level": NUMBER, "rain": NUMBER},
            "label": {**NUMBER, "name": "flow"},
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
        "register": {"thresholds": {}, "compare": {"metric": "root_mean_squared_error"}},
        "schedule": schedule,
    }


def test_a_backfill_reads_each_day_as_its_own_run_would_have(stack, add_pipeline, landing, record_property):
    name = add_pipeline("flow", section(landing, cron="0 0 * * *", max_active_runs=3))
    dag = f"headrace_{name}"
    stack.pause(dag, is_paused=False)
    started_seconds = time.monotonic()
    dates = ["--from-date", DAYS[0], "--to-date", DAYS[-1]]
    stack.call("airflow", "backfill", "create", "--dag-id", dag, *dates, "--max-active-runs", "3")
    runs = stack.runs(dag, "backfill")
    assert [run.wait_for_end() for run in runs] == ["success"] * len(DAYS)
    record_property("seconds", round(time.monotonic() - started_seconds))
    assert [run.day for run in runs] == list(DAYS)
    for run, day in zip(runs, DAYS, strict=True):
        counts = json.loads((run.workspace / "reports" / name / "ingest.json").read_text())
        assert counts["rows_read"] == ROWS[day]
        assert run.not_in_s3() == []
    assert len(stack.mlflow_runs(name)) == len(DAYS)


def test_a_new_champion_predicts_by_itself_and_an_old_one_does_not(
    stack, add_pipeline, landing, tmp_path, record_property
):
    flow(70).write_csv(tmp_path / "rows.csv")
    predictions = tmp_path / "predictions"
    predict = {"input": str(tmp_path / "rows.csv"), "output": str(predictions)}
    name = add_pipeline("flow", section(landing, predict=predict))
    dag = f"headrace_{name}"
    stack.pause(f"{dag}_predict", is_paused=False)
    assert stack.trigger({}, dag=dag).wait_for_end() == "success"
    started_seconds = time.monotonic()
    stack.wait_for(lambda: stack.runs(f"{dag}_predict", "asset_triggered"))
    [made] = stack.runs(f"{dag}_predict", "asset_triggered")
    assert made.wait_for_end() == "success"
    record_property("seconds", round(time.monotonic() - started_seconds))
    [file] = predictions.glob("*.parquet")
    assert pl.read_parquet(file).height == 70
    assert stack.trigger({}, dag=dag).wait_for_end() == "success"  # the same model again
    time.sleep(10)
    assert len(stack.runs(f"{dag}_predict", "asset_triggered")) == 1
