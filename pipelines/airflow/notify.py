"""Reports how a DAG run ended: in the log, and by a webhook or e-mail where requested. Never fails a run."""

import asyncio
import html
import logging
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal
from urllib.parse import quote

import httpx
from airflow.sdk import BaseHook, BaseXCom, Variable, conf

from headrace.components.errors import ServiceError
from headrace.components.redaction import redacted
from headrace.components.schema.settings import Settings
from headrace.pipelines.airflow.retry_policy import Cause, StageFailed, cause_of
from headrace.pipelines.airflow.tracing import export_failed, export_succeeded, exports_root
from headrace.pipelines.compatibility.airflow_internals import task_states
from headrace.pipelines.schedule import Alerts

FAILURE_KEY = "headrace_failure"  # XCom: what a failed task writes for the notification of its run
MLFLOW_KEY = "mlflow_run_id"  # XCom: of the task that trains
SLOW_KEY = "headrace_slow_worker"  # XCom: of the task that trains, where a worker made the others wait
WEBHOOK_SECONDS = 5.0
RETRY_SECONDS = 1.0
_ERROR_LENGTH = 2000

Outcome = Literal["succeeded", "failed", "late", "slow"]

log = logging.getLogger(__name__)


class Failure(Settings):
    """What a task that failed for good says of itself."""

    task: str
    try_number: int | None = None
    cause: str
    error: str
    log_url: str | None = None


class Notice(Settings):
    """The notification of a run that has ended. `reason` is Airflow's own."""

    dag: str
    run: str
    outcome: Outcome
    reason: str | None
    url: str
    failures: tuple[Failure, ...] = ()
    mlflow_run: str | None = None
    slow_worker: str | None = None

    @property
    def title(self) -> str:
        """One line."""
        return f"{self.dag} {self.outcome}: {self.run}"

    @property
    def text(self) -> str:
        """All of it, a line each."""
        lines = [self.title]
        for failed in self.failures:
            tried = f", attempt {failed.try_number}" if failed.try_number else ""
            lines += [f"task {failed.task}{tried}: {failed.cause}", failed.error, failed.log_url or ""]
        lines += [self.slow_worker or "", f"MLflow run {self.mlflow_run}" if self.mlflow_run else "", self.url]
        return "\n".join(filter(None, lines))


def dag_callbacks(alerts: Alerts) -> dict[str, Any]:
    """Callbacks of a DAG, as its keyword arguments. Airflow calls them in the DAG processor."""
    failed: list[Callable[[Any], None]]
    succeeded: list[Callable[[Any], None]]
    failed = [partial(_notify, alerts=alerts, outcome="failed")] if alerts.after != "never" else []
    succeeded = [partial(_notify, alerts=alerts, outcome="succeeded")] if alerts.after == "success_too" else []
    if alerts.after == "failure":
        succeeded = [partial(_notify_slow, alerts=alerts)]
    if exports_root():
        failed, succeeded = [*failed, export_failed], [*succeeded, export_succeeded]
    both = {"on_failure_callback": failed, "on_success_callback": succeeded}
    return {name: callbacks[0] if len(callbacks) == 1 else callbacks for name, callbacks in both.items() if callbacks}


def remember_failure(context: Any) -> None:
    """Keep why a task failed for good, as its on_failure_callback: the DAG's callbacks do not receive the reason.

    It does so only in the worker. Where the worker died, Airflow calls this in the DAG processor, which has no
    exception to report, and where a push would not be answered.
    """
    error, task = context.get("exception"), context["ti"]
    if error is None:
        return
    said = error.last_error if isinstance(error, StageFailed) else f"{type(error).__name__}: {error}"
    failure = Failure(
        task=task.task_id,
        try_number=task.try_number,
        cause=cause_of(error),
        error=redacted(said)[:_ERROR_LENGTH],
        log_url=task.log_url,
    )
    task.xcom_push(key=FAILURE_KEY, value=failure.model_dump())


def send(notice: Notice, alerts: Alerts) -> None:
    """Log the notice and send it wherever `alerts` says; what can't be sent is a warning in the log."""
    log.log(logging.INFO if notice.outcome == "succeeded" else logging.ERROR, "%s", notice.text)
    channels = {"webhook": _post if alerts.webhook else None, "e-mail": _mail if alerts.email else None}
    for name, channel in channels.items():
        try:
            if channel:
                channel(notice, alerts)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other channel is still to be used
            log.warning("no notification by %s: %s: %s", name, type(error).__name__, redacted(str(error)))


async def notify_late(context: Any, alerts: Mapping[str, Any]) -> None:
    """Report a run that is not done by its deadline; called in the triggerer."""
    notice = await asyncio.to_thread(_late, context["dag_run"])
    await asyncio.to_thread(send, notice, Alerts.model_validate(alerts))


def _late(run: Mapping[str, Any]) -> Notice:
    dag, run_id = run["dag_id"], run.get("dag_run_id") or run["run_id"]
    return Notice(dag=dag, run=run_id, outcome="late", reason="it is past its deadline", url=_url(dag, run_id))


def _notify(context: Any, *, alerts: Alerts, outcome: Outcome) -> None:
    send(_notice(context, outcome), alerts)


def _notify_slow(context: Any, *, alerts: Alerts) -> None:
    """Report a run that succeeded, and in which a worker made the others wait."""
    notice = _notice(context, "slow")
    if notice.slow_worker:
        send(notice, alerts)


def _notice(context: Any, outcome: Outcome) -> Notice:
    dag, run = context["dag"].dag_id, context["run_id"]
    notice = Notice(dag=dag, run=run, outcome=outcome, reason=context.get("reason"), url=_url(dag, run))
    try:
        return notice.model_copy(update=_details(dag, run))
    except Exception as error:  # noqa: BLE001 - the end of the run is reported without them, too
        log.warning("can't get details of %s from Airflow: %s: %s", run, type(error).__name__, redacted(str(error)))
        return notice


def _url(dag: str, run: str) -> str:
    base = conf.get("api", "base_url", fallback="http://localhost:8080/").rstrip("/")
    return f"{base}/dags/{dag}/runs/{quote(run)}"


def _details(dag: str, run: str) -> dict[str, Any]:
    """Failed tasks of the run, and its MLflow run, by Airflow's server."""
    states = task_states(dag, run)
    mlflow_runs = (_xcom(MLFLOW_KEY, dag, run, task) for task in states)
    slow_workers = (_xcom(SLOW_KEY, dag, run, task) for task in states)
    return {
        "failures": tuple(_failure(dag, run, task) for task, state in states.items() if state == "failed"),
        "mlflow_run": next((found for found in mlflow_runs if found), None),
        "slow_worker": next((found for found in slow_workers if found), None),
    }


def _failure(dag: str, run: str, task: str) -> Failure:
    found = _xcom(FAILURE_KEY, dag, run, task)
    if found is None:
        time.sleep(RETRY_SECONDS)  # a worker reports why just after it has reported that
        found = _xcom(FAILURE_KEY, dag, run, task)
    if found is None:
        return Failure(task=task, cause=Cause.LOST, error="it said nothing: killed, or marked as failed by a user")
    return Failure.model_validate(found)


def _xcom(key: str, dag: str, run: str, task: str) -> Any:
    return BaseXCom.get_one(key=key, dag_id=dag, run_id=run, task_id=task)


def _post(notice: Notice, alerts: Alerts) -> None:
    """POST the notice as JSON, twice at most; its "text" is what Slack, Mattermost and others show."""
    url, headers = _webhook(str(alerts.webhook))
    logging.getLogger("httpx").setLevel(logging.WARNING)  # else it logs the address, which is a secret
    content = {"text": notice.text, "title": notice.title, **notice.model_dump(mode="json")}
    for pause_seconds in (RETRY_SECONDS, None):
        try:
            answer = httpx.post(url, json=content, headers=headers, timeout=WEBHOOK_SECONDS)
            if answer.is_success:
                return
            problem = f"it answers {answer.status_code}"
        except httpx.TransportError as error:
            problem = f"{type(error).__name__}: {error}"
        if pause_seconds is not None:
            time.sleep(pause_seconds)
    raise ServiceError(f"{alerts.webhook}: {problem}")


def _webhook(named: str) -> tuple[str, dict[str, str]]:
    """The address and the headers of what is called `connection:ID`, `variable:NAME` or `environment:NAME`."""
    kind, _, name = named.partition(":")
    if kind == "connection":
        connection = BaseHook.get_connection(name)
        token = connection.password
        return str(connection.host), {"Authorization": f"Bearer {token}"} if token else {}
    url = Variable.get(name) if kind == "variable" else os.environ.get(name)
    if not url:
        raise ServiceError(f"{named} is not set where Airflow's DAG processor runs")
    return str(url), {}


def _mail(notice: Notice, alerts: Alerts) -> None:
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    with SmtpHook(conf.get("email", "email_conn_id", fallback=SmtpHook.default_conn_name)) as mail:
        mail.send_email_smtp(
            to=list(alerts.email),
            subject=notice.title,
            html_content=f"<pre>{html.escape(notice.text)}</pre>",
            from_email=mail.from_email or conf.get("email", "from_email", fallback=None),
        )
