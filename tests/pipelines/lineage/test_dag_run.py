"""A run of Airflow itself, its training a job on a Ray cluster: its trace, its OpenLineage events, the model again."""

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from headrace.pipelines.lineage.named_model import named_version, provenance_of
from headrace.pipelines.tracking.server import connect

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]

STAGES = ("ingest", "normalize", "split", "train", "evaluate", "register")
OVERRIDES = {"train.epochs": 3, "split.seed": 5}
TOKEN = "0" * 64


@dataclass(frozen=True)
class DagRun:
    """A project after a run of its DAG, and what a collector and a file have received meanwhile."""

    project: Any
    spans: list[Any]
    events: list[dict[str, Any]]


@pytest.fixture(scope="module")
def dag_run(tmp_path_factory, repository, line_project, job_server, web_server) -> DagRun:
    """`airflow dags test` for the data of one day, with changed values of the form, and training on the cluster."""
    folder = tmp_path_factory.mktemp("dag_run")
    project = line_project(folder / "a project")
    (project.root / "dags").mkdir()
    shutil.copy(repository / "dags" / "headrace_pipelines.py", project.root / "dags")
    project.read_by_the_day(folder / "landing", schedule={"cron": "0 0 * * *"})
    connect(project.root)  # which makes the store: its artifacts lie in the project, and not where the job runs
    spans: list[Any] = []
    with web_server(collect_into(spans)) as address:
        variables = {
            "AIRFLOW_HOME": str(folder / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(project.root / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW_CONN_RAY_DEFAULT": json.dumps({"conn_type": "ray", "host": job_server.address, "password": TOKEN}),
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps({"type": "file", "log_file_path": f"{folder}/events"}),
            "HEADRACE_STORAGE": str(folder / "storage"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{project.root / 'mlflow.db'}",
            "OTEL_EXPORTER_OTLP_ENDPOINT": address,
        }
        project.program("airflow", "db", "migrate", **variables)
        conf = json.dumps({"overrides": OVERRIDES})
        output = project.program("airflow", "dags", "test", "headrace_line", "2026-11-21", "--conf", conf, **variables)
    (folder / "output").write_text(output)
    events = [json.loads(file.read_text()) for file in sorted(folder.glob("events*"))]
    shutil.rmtree(folder / "landing" / "date=2026-11-20")  # the source has moved on, and the workspace is gone
    shutil.rmtree(project.root / ".headrace" / "workspaces")
    return DagRun(project, spans, events)


def collect_into(spans: list[Any]) -> Callable[[Any], tuple[int, bytes]]:
    """A collector's answer to requests of OTLP, which keeps their spans."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    def answer(request: Any) -> tuple[int, bytes]:
        is_packed = request.headers.get("Content-Encoding") == "gzip"
        content = gzip.decompress(request.content) if is_packed else request.content
        for resource in ExportTraceServiceRequest.FromString(content).resource_spans:
            spans.extend(span for scope in resource.scope_spans for span in scope.spans)
        return 200, b""

    return answer


def test_a_run_its_stages_and_its_job_are_one_trace(dag_run):
    spans = dag_run.spans
    [root] = [span for span in spans if not span.parent_span_id]
    assert root.name == "DAG headrace_line"
    assert {span.trace_id for span in spans} == {root.trace_id}
    stages = [span for span in spans if span.parent_span_id == root.span_id]
    assert [*dict.fromkeys(span.name.removeprefix("headrace ") for span in stages)] == [*STAGES]
    submitting = {span.span_id for span in stages if span.name == "headrace train"}
    [job] = [span for span in spans if span not in stages and span is not root]
    assert job.name == "headrace train" and job.parent_span_id in submitting
    attributes = {one.key: one.value.string_value for one in job.attributes}
    assert attributes["headrace.pipeline"] == "line" and attributes["headrace.job"].startswith("line-")
    for span in spans:
        assert span.status.code != 2 or span.parent_span_id == root.span_id, span


def test_openlineage_has_what_each_stage_read_and_wrote(dag_run):
    pytest.importorskip("airflow.providers.openlineage", reason="needs apache-airflow-providers-openlineage")
    ended = [event for event in dag_run.events if event["eventType"] == "COMPLETE"]
    done = {event["job"]["name"].removeprefix("headrace_line."): event for event in ended}
    assert {*STAGES} < {*done}
    written = {version for stage in STAGES for version in versions(done[stage]["outputs"])}
    for stage in STAGES[1:]:
        assert written & versions(done[stage]["inputs"]), stage  # a chain, by name and content
    assert {name for _, name, _ in versions(done["split"]["outputs"])} == {"data/line/splits"}
    assert {namespace for namespace, _, _ in written} == {
        str(dag_run.project.root)
    }  # which the workspace is a clone of


def versions(datasets: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    """Namespace, name and version of each data set of an event."""
    return {(one["namespace"], one["name"], one["facets"]["version"]["datasetVersion"]) for one in datasets}


def test_the_model_of_the_run_is_made_again(dag_run):
    project = dag_run.project
    named = named_version(project.root, "line:1")
    found = provenance_of(project.root, named.model, named.version)
    train = found.records["train"]
    assert {place: train.overrides[place].effective for place in OVERRIDES} == OVERRIDES
    interval = found.records["ingest"].interval
    assert (interval["start"][:10], interval["end"][:10]) == ("2026-11-20", "2026-11-21")
    output = project.headrace("reproduce", "line:1")
    assert output.splitlines()[-1].startswith("line:1, made again: equal: the same data, weights")
