"""A trace of each DAG run: Airflow's own where that writes traces, else one whose root is exported as the run ends."""

from datetime import UTC, datetime
from typing import Any

from airflow.sdk.configuration import conf

from headrace.pipelines.host.traces import PARENT_VARIABLE, export_root, is_traced, root_parent


def trace_of(owner: str) -> dict[str, str]:
    """The variable by which a command of a task finds its parent: the task's span, else the root of the DAG run."""
    if not is_traced():
        return {}
    return {PARENT_VARIABLE: _current() or root_parent(owner)}


def exports_root() -> bool:
    """Whether the root span of a DAG run is ours: Airflow itself writes no traces."""
    return is_traced() and not conf.getboolean("traces", "otel_on", fallback=False)


def export_succeeded(context: Any) -> None:
    """Export the root span of a DAG run that succeeded, as a callback of its DAG."""
    _export(context, error=None)


def export_failed(context: Any) -> None:
    """Export the root span of a DAG run that failed, as a callback of its DAG."""
    _export(context, error=str(context.get("reason") or "failed"))


def _export(context: Any, *, error: str | None) -> None:
    run, dag = context["dag_run"], context["dag"].dag_id
    now = datetime.now(UTC)
    start = getattr(run, "start_date", None) or now
    names = {"airflow.dag_id": dag, "airflow.run_id": context["run_id"]}
    export_root(
        f"{dag}/{context['run_id']}",
        title=f"DAG {dag}",
        start=start,
        end=getattr(run, "end_date", None) or now,
        error=error,
        attributes=names,
    )


def _current() -> str | None:
    """Airflow's span around the task, as W3C has it; None where it writes none."""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")
