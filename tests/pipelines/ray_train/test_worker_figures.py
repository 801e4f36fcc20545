"""Figures of workers and of a training, as Prometheus gets them from a node of Ray, and Grafana shows them."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace.pipelines.ray_train.worker_figures import OF_TRAINING, OF_WORKER, PREFIX

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(240)]

# What a worker and the process that follows a training do. The library of a GPU is none here: its figures are given.
REPORT = """
import sys, time, ray
from headrace.pipelines.host.logs import log_as
from headrace.pipelines.ray_train.worker_figures import OF_TRAINING, OF_WORKER, TrainingGauges, WorkerFigures
ray.init(address=sys.argv[1], log_to_driver=False, configure_logging=False)
log_as(pipeline="digits")
workers = [WorkerFigures(rank, run="digits-1") for rank in (0, 1)]
training = TrainingGauges(run="digits-1")
while True:
    for rank, worker in enumerate(workers):
        worker.sample({"step": 7.0} | {name: 10.0 * rank + 1 for name in OF_WORKER}, num_workers=2)
    for name in OF_TRAINING:
        training.set(name, 2.0)
    time.sleep(0.5)
"""


@pytest.fixture(scope="module")
def scraped(ray_nodes, free_ports, tmp_path_factory) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Labels and value of each sample by its name, from the metrics of a real node once all of ours are there."""
    nodes = ray_nodes()
    port, metrics, dashboard, agent, client = free_ports(5)
    head = ["--head", f"--port={port}", "--num-cpus=1", f"--temp-dir={nodes.temporary}"]
    head += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--metrics-export-port={metrics}"]
    nodes.start(*head, f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}")
    log = tmp_path_factory.mktemp("reporting") / "log"
    environment = {**nodes._environment, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with log.open("w") as output:
        reporting = subprocess.Popen(
            [sys.executable, "-c", REPORT, f"127.0.0.1:{port}"], env=environment, stdout=output, stderr=output
        )
    try:
        return _scrape(f"http://127.0.0.1:{metrics}/metrics", reporting, log)
    finally:
        reporting.kill()
        reporting.wait(30)


def _scrape(address: str, reporting: subprocess.Popen, log: Path) -> dict[str, list[tuple[dict[str, str], float]]]:
    deadline_seconds = time.monotonic() + 150
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    while time.monotonic() < deadline_seconds:
        assert reporting.poll() is None, log.read_text()[-2000:]
        try:
            text = httpx.get(address, timeout=10).raise_for_status().text
        except httpx.HTTPError:  # the node's agent has just begun
            text = ""
        found = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
        if {f"ray_{PREFIX}{name}" for name in (*OF_WORKER, *OF_TRAINING)} <= found.keys():
            return found
        time.sleep(1)
    raise AssertionError(f"not all figures within 150 s: {sorted(name for name in found if PREFIX in name)}")


def test_prometheus_reads_each_workers_figures_by_rank(scraped):
    for name in OF_WORKER:
        by_rank = {labels["rank"]: (labels, value) for labels, value in scraped[f"ray_{PREFIX}{name}"]}
        assert {rank: value for rank, (_, value) in by_rank.items()} == {"0": 1.0, "1": 11.0}, name
        for labels, _ in by_rank.values():
            assert (labels["pipeline"], labels["run"]) == ("digits", "digits-1")
            assert labels["host"]
    for name in OF_TRAINING:
        [(labels, value)] = scraped[f"ray_{PREFIX}{name}"]
        assert (labels["pipeline"], labels["run"], value) == ("digits", "digits-1", 2.0)


def test_the_dashboard_asks_for_names_and_labels_that_are_exported(scraped, repository):
    dashboard = json.loads((repository / "infra" / "grafana" / "training.json").read_text(encoding="utf-8"))
    targets = [target for panel in dashboard["panels"] for target in panel.get("targets", ())]
    queries = [target["expr"] for target in targets]
    queries += [one["query"]["query"] for one in dashboard["templating"]["list"] if one["type"] == "query"]
    names = {name for query in queries for name in re.findall(r"\bray_\w+", query)}
    assert names <= scraped.keys()
    assert names == {f"ray_{PREFIX}{name}" for name in (*OF_WORKER, *OF_TRAINING)}
    labels = {label for query in queries for label in re.findall(r"[{,]\s*(\w+)\s*=~?", query)}
    labels |= {label for query in queries for label in re.findall(r"by \((\w+)\)|, (\w+)\)$", query) for label in label}
    labels |= {label for target in targets for label in re.findall(r"{{(\w+)}}", target.get("legendFormat", ""))}
    known = {label for name in names for labels_of_one, _ in scraped[name] for label in labels_of_one}
    assert {label for label in labels if label} <= known
