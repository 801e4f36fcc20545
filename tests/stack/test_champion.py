"""A scheduled run of MNIST, from its files to a champion."""

import time

import pytest
import yaml

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(1800)]


def test_a_scheduled_run_of_mnist_goes_to_a_champion_with_every_artifact_in_s3(
    stack, add_pipeline, shared_data, record_property
):
    assert stack.process("airflow-scheduler").environ().get("HEADRACE_MIRROR") == str(shared_data)
    section = yaml.safe_load((stack.root / "params.yaml").read_text())["mnist"]
    name = add_pipeline("mnist", {**section, "schedule": {"cron": "0 0 * * *"}})
    started_seconds = time.monotonic()
    stack.pause(f"headrace_{name}", is_paused=False)
    stack.wait_for(lambda: stack.runs(f"headrace_{name}", "scheduled"))
    [run] = stack.runs(f"headrace_{name}", "scheduled")
    assert run.wait_for_end() == "success"
    record_property("seconds", round(time.monotonic() - started_seconds))

    champion = stack.mlflow.get_model_version_by_alias(name, "champion")
    [found] = stack.mlflow_runs(name)
    assert (found.info.run_id, found.info.status) == (champion.run_id, "FINISHED")
    assert found.data.tags["headrace.owner"] == f"{run.dag}/{run.name}"
    assert float(champion.tags["metric.accuracy"]) > 0.985
    assert run.not_in_s3() == []
    outputs = run.outputs()
    assert {f"data/{name}/splits", f"models/{name}/model.keras", f"models/{name}/checkpoint"} <= set(outputs)
    artifacts = stack.objects("headrace-mlflow", "")
    report = f"{champion.run_id}/artifacts/evaluation/report.html"
    assert f"{found.info.experiment_id}/{report}" in artifacts
    links = stack.airflow("GET", f"{run.path}/taskInstances/evaluate/links")["extra_links"]
    assert links["Report"].endswith(f"/#/experiments/{found.info.experiment_id}/runs/{report}")
    assert outputs[f"models/{name}/model.keras"] in artifacts.values()  # the model that is served is the one trained
