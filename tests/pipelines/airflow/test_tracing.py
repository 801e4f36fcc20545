"""The parent of a task's commands, and the root of a DAG run's trace."""

from types import SimpleNamespace

import pytest

from headrace.pipelines.host.traces import PARENT_VARIABLE, root_parent

OWNER = "headrace_digits/manual__1"


@pytest.fixture
def endpoint(monkeypatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")


def test_without_an_endpoint_a_task_passes_nothing_on(monkeypatch) -> None:
    from headrace.pipelines.airflow.tracing import exports_root, trace_of

    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert trace_of(OWNER) == {} and not exports_root()


def test_all_tasks_of_a_run_have_one_root_or_airflows_own_span(endpoint) -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    from headrace.pipelines.airflow.tracing import exports_root, trace_of

    assert trace_of(OWNER) == {PARENT_VARIABLE: root_parent(OWNER)} and exports_root()
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("airflow")
    with trace.use_span(tracer.start_span("train")) as span:
        assert f"{span.get_span_context().span_id:016x}" in trace_of(OWNER)[PARENT_VARIABLE]


def test_the_end_of_a_run_exports_its_root_beside_the_notification(endpoint, monkeypatch) -> None:
    from headrace.pipelines.airflow import tracing
    from headrace.pipelines.airflow.notify import dag_callbacks
    from headrace.pipelines.schedule import Alerts

    exported = []
    monkeypatch.setattr(tracing, "export_root", lambda name, **facts: exported.append((name, facts["error"])))
    callbacks = dag_callbacks(Alerts(after="never"))
    dag_id, run_id = OWNER.split("/")
    context = {
        "dag": SimpleNamespace(dag_id=dag_id),
        "run_id": run_id,
        "dag_run": SimpleNamespace(),
        "reason": "timed_out",
    }
    callbacks["on_success_callback"](context)
    callbacks["on_failure_callback"](context)
    assert exported == [(OWNER, None), (OWNER, "timed_out")]
    assert [len(both) for both in dag_callbacks(Alerts()).values()] == [2, 2]
