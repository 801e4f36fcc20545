"""A DAG run on a cluster, watched as its operators do: by traces at a collector, by metrics at each node."""

import gzip
import json
import os
import re
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from headrace.pipelines.ray_train.worker_figures import OF_TRAINING, OF_WORKER, PREFIX

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]

STAGES = {"ingest", "normalize", "split", "train", "evaluate", "register"}
RAY_TOKEN = "0" * 64


@dataclass
class Watched:
    """What the collector and the nodes' metrics have shown of one run."""

    spans: list[Any] = field(default_factory=list)
    samples: dict[str, list[dict[str, str]]] = field(default_factory=lambda: defaultdict(list))  # labels, by name
    run_name: str = ""

    def keep_spans(self, request) -> tuple[int, bytes]:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        is_packed = request.headers.get("Content-Encoding") == "gzip"
        content = gzip.decompress(request.content) if is_packed else request.content
        for resource in ExportTraceServiceRequest.FromString(content).resource_spans:
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        return 200, b""

    def scrape(self, temporary: Path) -> None:
        """Read the metrics of each node as Prometheus does, from the addresses that Ray writes for it."""
        from prometheus_client.parser import text_string_to_metric_families

        file = temporary / "prom_metrics_service_discovery.json"
        for address in json.loads(file.read_text())[0]["targets"] if file.is_file() else ():
            try:
                text = httpx.get(f"http://{address}/metrics", timeout=10).raise_for_status().text
            except httpx.HTTPError:  # a node that has just begun
                continue
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    self.samples[sample.name].append(dict(sample.labels))


@pytest.fixture(scope="module")
def watched(
    tmp_path_factory: pytest.TempPathFactory, copy_repository: Callable[[Path], Path], job_server, web_server
) -> Iterator[Watched]:
    """`airflow dags test` of digits, trained by a job of two nodes; the nodes' metrics are read meanwhile."""
    folder = tmp_path_factory.mktemp("watched")
    root, seen, is_over = copy_repository(folder / "a clone"), Watched(), threading.Event()
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["digits"]["train"]["epochs"] = 200  # long enough for some samples of each worker
    params["digits"]["register"]["thresholds"] = {}
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    git = ["git", "-c", "user.name=Test", "-c", "user.email=test@localhost"]
    for command in (["add", "--all"], ["commit", "--quiet", "--message", "Copy"]):
        subprocess.run([*git, *command], cwd=root, check=True)

    def follow() -> None:
        while not is_over.wait(1):
            seen.scrape(job_server.temporary)

    with web_server(seen.keep_spans) as address:
        environment = environment_of(folder, root, job_server.address, collector=address)
        follower = threading.Thread(target=follow)
        follower.start()
        try:
            for arguments in (["db", "migrate"], ["dags", "test", "headrace_digits"]):
                airflow(root, environment, *arguments)
        finally:
            is_over.set()
            follower.join()
    [run] = (root / ".headrace" / "workspaces").glob("*/models/digits/run.json")
    seen.run_name = json.loads(run.read_text())["run_name"]
    yield seen


def environment_of(folder: Path, root: Path, ray: str, *, collector: str) -> dict[str, str]:
    ours = ("AIRFLOW", "MLFLOW_TRACKING_URI", "RAY_", "OTEL_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {
        **kept,
        "HOME": str(folder),
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(root / "dags"),
        "RAY_ADDRESS": ray,
        "RAY_AUTH_TOKEN": RAY_TOKEN,
        "HEADRACE_STORAGE": str(folder / "storage"),
        "HEADRACE_WORKER_SECONDS": "0.5",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector,
    }


def airflow(root: Path, environment: dict[str, str], *arguments: str) -> None:
    ended = subprocess.run(
        [Path(sys.executable).with_name("airflow"), *arguments],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=800,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-8000:]


def test_the_run_its_stages_and_its_job_are_one_trace(watched):
    assert len({span.trace_id for span in watched.spans}) == 1
    by_id = {span.span_id: span for span in watched.spans}
    [root] = [span for span in watched.spans if not span.parent_span_id]
    assert root.name == "DAG headrace_digits"
    stages = [span for span in watched.spans if span.parent_span_id == root.span_id]
    assert {span.name for span in stages} == {f"headrace {stage}" for stage in STAGES}
    [job] = [span for span in watched.spans if span.parent_span_id in {stage.span_id for stage in stages}]
    assert (job.name, by_id[job.parent_span_id].name) == ("headrace train", "headrace train")
    for span in watched.spans:
        assert root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= root.end_time_unix_nano, span.name


def test_each_nodes_metrics_have_the_figures_of_its_worker(watched):
    shown = {name: watched.samples[f"ray_{PREFIX}{name}"] for name in (*OF_WORKER, *OF_TRAINING) if "gpu" not in name}
    assert all(shown.values()), [name for name, found in shown.items() if not found]
    for name in OF_WORKER.keys() & shown.keys():
        assert {one["rank"] for one in shown[name]} == {"0", "1"}, name
        assert {(one["pipeline"], one["run"]) for one in shown[name]} == {("digits", watched.run_name)}
        assert all(one["host"] for one in shown[name])


def test_the_dashboard_asks_for_names_and_labels_that_are_exported(watched, repository):
    """GPU figures have the names of the same table, and no GPU is here."""
    dashboard = json.loads((repository / "infra" / "grafana" / "training.json").read_text())
    targets = [target for panel in dashboard["panels"] for target in panel.get("targets", ())]
    queries = [target["expr"] for target in targets]
    queries += [
        variable["query"]["query"] for variable in dashboard["templating"]["list"] if variable["type"] == "query"
    ]
    asked = {name for query in queries for name in re.findall(r"\bray_\w+", query)}
    without_gpu = {name for name in asked if "_gpu_" not in name}
    assert without_gpu <= watched.samples.keys()
    labels = {label for query in queries for label in re.findall(r"[{,]\s*(\w+)\s*=~?", query)}
    labels |= {
        label for query in queries for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(", ")
    }
    labels |= {label for target in targets for label in re.findall(r"{{(\w+)}}", target.get("legendFormat", ""))}
    known = {label for name in without_gpu for one in watched.samples[name] for label in one}
    assert labels <= known
