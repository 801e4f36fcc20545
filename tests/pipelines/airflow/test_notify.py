"""The notifications of a run, through a real web server and a real mail server; Airflow's server is a stand-in."""

import email
import json
import socket
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from headrace.components.errors import ServiceError
from headrace.pipelines.airflow import notify
from headrace.pipelines.airflow.notify import Alerts, Failure, Notice, dag_callbacks, remember_failure, send
from headrace.pipelines.airflow.retry_policy import stage_failed

NOTICE = Notice(
    dag="headrace_digits",
    run="scheduled__2026-11-20",
    outcome="failed",
    reason="task_failure",
    url="http://airflow/dags/headrace_digits/runs/scheduled__2026-11-20",
    failures=(Failure(task="train", try_number=2, cause="unknown", error="<loss> is nan", log_url="http://log"),),
)


@pytest.fixture
def hook(web_server):
    """Answers with the given statuses, one after the other, and keeps what it was sent."""

    @contextmanager
    def serve(*statuses, delay_seconds=0.0):
        left, received = list(statuses), []

        def answer(request) -> tuple[int, bytes]:
            received.append((request.headers["Authorization"], json.loads(request.content)))
            time.sleep(delay_seconds)
            return left.pop(0), b""

        with web_server(answer) as address:
            yield SimpleNamespace(address=f"{address}/services/secret", received=received)

    return serve


@contextmanager
def mail_server():
    """Takes one message, as RFC 5321 has it, into the list that it gives."""
    messages: list[str] = []

    def serve() -> None:
        connection, _ = listening.accept()
        with connection, connection.makefile("rw", newline="\r\n") as stream:

            def say(line: str) -> None:
                stream.write(f"{line}\n")
                stream.flush()

            say("220 here")
            while line := stream.readline().strip():
                if line.upper() == "DATA":
                    say("354 end with a dot")
                    messages.append("".join(iter(stream.readline, ".\r\n")))
                say("250 ok")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1], messages
        thread.join(timeout=10)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(notify, "RETRY_SECONDS", 0.01)


@pytest.fixture
def airflow(monkeypatch):
    """Airflow's server: the states of the run's tasks, and what they published."""
    server = SimpleNamespace(states={}, xcoms={})
    monkeypatch.setattr(notify, "task_states", lambda dag_id, run_id: server.states)
    monkeypatch.setattr(
        notify.BaseXCom, "get_one", lambda key, dag_id, run_id, task_id: server.xcoms.get((task_id, key))
    )
    return server


def task(airflow, name="train"):
    """A task instance, as far as a callback sees it."""

    def push(key, value) -> None:
        airflow.xcoms[(name, key)] = json.loads(json.dumps(value))

    return SimpleNamespace(task_id=name, try_number=2, log_url="http://log", xcom_push=push)


def context(**more):
    return {"dag": SimpleNamespace(dag_id="headrace_digits"), "run_id": "manual__1+00:00", **more}


def test_a_webhook_gets_the_run_the_cause_and_the_last_error(hook, monkeypatch):
    with hook(200) as server:
        monkeypatch.setenv("HEADRACE_WEBHOOK", server.address)
        send(NOTICE, Alerts(webhook="environment:HEADRACE_WEBHOOK"))
    [(token, content)] = server.received
    assert token is None
    assert content["dag"] == "headrace_digits"
    assert content["failures"][0] | {"error": "<loss> is nan", "try_number": 2} == content["failures"][0]
    assert content["text"].splitlines() == [
        "headrace_digits failed: scheduled__2026-11-20",
        "task train, attempt 2: unknown",
        "<loss> is nan",
        "http://log",
        "http://airflow/dags/headrace_digits/runs/scheduled__2026-11-20",
    ]


@pytest.mark.parametrize("kind", ["connection", "variable"])
def test_the_address_may_be_airflows_secret(hook, monkeypatch, kind):
    with hook(204) as server:
        connection = {"conn_type": "http", "host": server.address, "password": "a-token"}
        monkeypatch.setenv("AIRFLOW_CONN_ALERTS", json.dumps(connection))
        monkeypatch.setenv("AIRFLOW_VAR_ALERTS", server.address)
        send(NOTICE, Alerts(webhook=f"{kind}:alerts"))
    assert [token for token, _ in server.received] == ["Bearer a-token" if kind == "connection" else None]


def test_a_webhook_that_fails_once_is_called_again(hook, monkeypatch):
    with hook(503, 200) as server:
        monkeypatch.setenv("HEADRACE_WEBHOOK", server.address)
        send(NOTICE, Alerts(webhook="environment:HEADRACE_WEBHOOK"))
    assert len(server.received) == 2


@pytest.mark.parametrize("how", ["closed", "refuses", "hangs", "unset", "no address"])
def test_a_webhook_that_is_no_use_is_a_warning_without_its_address_and_the_mail_goes_out(
    hook, monkeypatch, caplog, how
):
    monkeypatch.setattr(notify, "WEBHOOK_SECONDS", 0.1)
    with hook(500, 500, delay_seconds=0.3 if how == "hangs" else 0.0) as server, mail_server() as (port, messages):
        addresses = {"closed": "http://127.0.0.1:9/services/secret", "no address": "services/secret", "unset": ""}
        monkeypatch.setenv("HEADRACE_WEBHOOK", addresses.get(how, server.address))
        set_mail_connection(monkeypatch, port)
        send(NOTICE, Alerts(webhook="environment:HEADRACE_WEBHOOK", email=("ann@example.org",)))
    assert len(messages) == 1
    assert "no notification by webhook" in caplog.text
    assert "secret" not in caplog.text


def set_mail_connection(monkeypatch, port) -> None:
    extra = {"disable_ssl": True, "disable_tls": True, "from_email": "airflow@example.org", "timeout": 5}
    connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))


def test_a_mail_has_the_same_text(monkeypatch, caplog):
    with mail_server() as (port, messages):
        set_mail_connection(monkeypatch, port)
        send(NOTICE, Alerts(email=("ann@example.org", "bob@example.org")))
    message = email.message_from_string(messages[0])
    assert message["Subject"] == "headrace_digits failed: scheduled__2026-11-20"
    assert message["To"] == "ann@example.org, bob@example.org"
    [part] = message.get_payload()
    assert "&lt;loss&gt; is nan" in part.get_payload(decode=True).decode()
    assert "no notification" not in caplog.text


def test_a_mail_server_that_is_away_is_a_warning(monkeypatch, caplog):
    set_mail_connection(monkeypatch, 9)
    send(NOTICE, Alerts(email=("ann@example.org",)))
    assert "no notification by e-mail" in caplog.text


def test_callbacks_are_for_requested_outcomes():
    assert dag_callbacks(Alerts(after="never")) == {}
    assert list(dag_callbacks(Alerts())) == ["on_failure_callback", "on_success_callback"]  # of a slow worker
    assert list(dag_callbacks(Alerts(after="success_too"))) == ["on_failure_callback", "on_success_callback"]


def test_a_failed_run_reports_the_cause_that_its_task_wrote(airflow, caplog):
    remember_failure({"ti": task(airflow), "exception": stage_failed("train@digits", output=["error: x"], exit_code=2)})
    airflow.xcoms[("train", "mlflow_run_id")] = "0123abcd"
    airflow.states = {"split": "success", "train": "failed", "ingest": "failed", "evaluate": "upstream_failed"}
    dag_callbacks(Alerts())["on_failure_callback"](context(reason="task_failure"))
    assert "headrace_digits failed: manual__1+00:00" in caplog.text
    assert "task train, attempt 2: a mistake in data or parameters\nx\nhttp://log" in caplog.text
    assert "task ingest: its process, node or cluster was lost" in caplog.text
    assert "MLflow run 0123abcd" in caplog.text
    assert "/runs/manual__1%2B00%3A00" in caplog.text


def test_an_exception_that_is_no_stages_is_reported_with_its_kind(airflow):
    remember_failure({"ti": task(airflow), "exception": ServiceError("S3 is away")})
    failure = Failure.model_validate(airflow.xcoms[("train", "headrace_failure")])
    assert (failure.cause, failure.error) == ("a service, storage or network is away", "ServiceError: S3 is away")


def test_a_task_whose_worker_died_leaves_nothing(airflow):
    remember_failure({"ti": task(airflow)})  # in the DAG processor, where a push would hang
    assert airflow.xcoms == {}


def test_a_run_that_succeeded_is_reported_in_one_line_and_a_link(airflow, caplog):
    caplog.set_level("INFO")
    airflow.states = {"train": "success"}
    dag_callbacks(Alerts(after="success_too"))["on_success_callback"](context())
    assert [record.message.splitlines()[0] for record in caplog.records] == [
        "headrace_digits succeeded: manual__1+00:00"
    ]


def test_of_runs_that_succeeded_one_with_a_slow_worker_is_reported(airflow, caplog):
    airflow.states = {"train": "success"}
    dag_callbacks(Alerts())["on_success_callback"](context())
    assert caplog.records == []
    airflow.xcoms[("train", notify.SLOW_KEY)] = "worker 3 on b takes 1.8 times the others' time"
    dag_callbacks(Alerts())["on_success_callback"](context())
    assert [record.message.splitlines()[:2] for record in caplog.records] == [
        ["headrace_digits slow: manual__1+00:00", "worker 3 on b takes 1.8 times the others' time"]
    ]


def test_without_airflows_server_the_end_of_the_run_is_reported_all_the_same(monkeypatch, caplog):
    def away(*_) -> None:
        raise ConnectionError("no supervisor")

    monkeypatch.setattr(notify, "task_states", away)
    dag_callbacks(Alerts())["on_failure_callback"](context(reason="timed_out"))
    assert "headrace_digits failed: manual__1+00:00" in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"webhook": "https://hooks.example.org/services/secret"},  # the secret itself
        {"webhook": "environment:"},
        {"email": ("ann",)},
        {"on": "sometimes"},
    ],
)
def test_what_is_no_alert_is_refused(wrong):
    with pytest.raises(ValidationError):
        Alerts(**wrong)
