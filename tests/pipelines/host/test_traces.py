"""Traces of commands, at a collector that is a web server of the test's own."""

import gzip
import os
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from headrace.pipelines.host import traces
from headrace.pipelines.host.traces import PARENT_VARIABLE, export_root, is_traced, root_parent, traced


class Collector:
    """Keeps the spans that it receives."""

    def __init__(self) -> None:
        self.spans = []
        self.services = set()

    def answer(self, request) -> tuple[int, bytes]:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        is_packed = request.headers.get("Content-Encoding") == "gzip"
        content = gzip.decompress(request.content) if is_packed else request.content
        for resource in ExportTraceServiceRequest.FromString(content).resource_spans:
            attributes = {one.key: one.value.string_value for one in resource.resource.attributes}
            self.services.add(attributes["service.name"])
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        return 200, b""


@pytest.fixture
def collector(monkeypatch, web_server):
    monkeypatch.delenv(PARENT_VARIABLE, raising=False)
    received = Collector()
    with web_server(received.answer) as address:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        yield received


def attributes(span) -> dict:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


def test_without_an_endpoint_nothing_of_opentelemetry_is_imported() -> None:
    program = (
        "import sys\nfrom headrace.pipelines.host.traces import traced\n"
        "with traced('x'):\n    pass\nprint([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    variables = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_a_run_its_stages_and_its_job_are_one_trace(collector) -> None:
    started = datetime(2026, 11, 30, 12, tzinfo=UTC)
    os.environ[PARENT_VARIABLE] = root_parent("headrace_digits/manual__1")
    with traced("headrace train"):
        inner = os.environ[PARENT_VARIABLE]
        with traced("headrace train"):  # the job, which has it in its environment
            pass
        assert os.environ[PARENT_VARIABLE] == inner
    names = {"airflow.dag_id": "headrace_digits"}
    ends = {"start": started, "end": datetime(2026, 11, 30, 13, tzinfo=UTC)}
    export_root("headrace_digits/manual__1", title="DAG headrace_digits", error=None, attributes=names, **ends)
    job, stage, root = collector.spans
    assert {span.trace_id for span in collector.spans} == {root.trace_id}
    assert (job.parent_span_id, stage.parent_span_id, root.parent_span_id) == (stage.span_id, root.span_id, b"")
    assert root.end_time_unix_nano - root.start_time_unix_nano == 3600 * 10**9
    assert root_parent("headrace_digits/manual__1") == f"00-{root.trace_id.hex()}-{root.span_id.hex()}-01"
    assert collector.services == {"headrace"}


def test_how_a_block_ends_is_the_status_of_its_span(collector) -> None:
    for error in (SystemExit(0), SystemExit(3), ValueError("at https://ada:secret@example.org/x")):
        with pytest.raises(type(error)), traced("headrace monitor"):
            raise error
    done, limit, broken = collector.spans
    assert (done.status.code, limit.status.code, broken.status.code) == (0, 2, 2)
    assert attributes(limit)["process.exit.code"] == 3
    assert attributes(broken)["error.type"] == "ValueError" and "secret" not in broken.status.message


def test_a_command_is_a_span_with_its_own_error(collector, tmp_path) -> None:
    command = [sys.executable, "-m", "headrace", "list"]
    variables = {**os.environ, PARENT_VARIABLE: root_parent("a")}
    ended = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, check=False)
    assert ended.returncode == 2
    [span] = collector.spans
    assert (span.name, span.status.code) == ("headrace list", 2)
    assert "no params.yaml" in span.status.message


def test_a_collector_that_never_answers_costs_its_timeout_and_fails_nothing(monkeypatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(traces, "_EXPORT_SECONDS", 1)
        started = time.monotonic()
        with traced("headrace list"):
            pass
        assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_an_endpoint_switches_traces_on(monkeypatch, variables, expected) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_traced() is expected
