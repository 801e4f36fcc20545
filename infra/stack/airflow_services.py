"""Airflow: api-server, scheduler with its local workers, DAG processor and triggerer."""

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from headrace.components.errors import ServiceError
from infra.stack import postgres
from infra.stack.services import Service, fetch_json
from infra.stack.state import Stack, write_private

USER = "admin"
_OTHERS = ("scheduler", "dag-processor", "triggerer")


def services(stack: Stack, step: tuple[str, ...], client: dict[str, str]) -> list[Service]:
    """The step that creates the tables, and the four servers; tasks get `client` as environment."""

    def part(name: str, *options: str, needs: str, is_ready: Callable[[float], bool]) -> Service:
        return Service(
            name=f"airflow-{name}",
            command=(sys.executable, "-m", "airflow", name, *options),
            environment=client,
            folder=stack.root,
            needs=(needs,),
            is_ready=is_ready,
            address=stack.url("airflow") if name == "api-server" else "",
            tier=3,
            stop_seconds=20.0,
        )

    schema = Service(
        name="airflow-schema",
        command=(*step, "airflow-schema"),
        environment=client,
        folder=stack.root,
        needs=("databases",),
        once=True,
    )
    listen = ("--host", "127.0.0.1", "--port", str(stack.ports["airflow"]), "--workers", "1")
    server = part("api-server", *listen, needs="airflow-schema", is_ready=lambda _since: bool(_health(stack)))
    # Tasks' logs are files that the api-server reads itself, so nobody else has to serve them.
    others = [
        part(
            name,
            *(() if name == "dag-processor" else ("--skip-serve-logs",)),
            needs="airflow-api-server",
            is_ready=_heartbeat_check(stack, name.replace("-", "_")),
        )
        for name in _OTHERS
    ]
    return [schema, server, *others]


def environment(stack: Stack, *, ray_address: str) -> dict[str, str]:
    """Airflow's settings and the connection `ray_default`, as environment variables."""
    home = stack.data / "airflow"
    connection = {"conn_type": "ray", "host": ray_address, "password": stack.secrets["ray_token"]}
    settings = {
        "core__executor": "LocalExecutor",
        "core__parallelism": "4",
        "core__dags_folder": str(stack.root / "dags"),
        "core__load_examples": "false",
        "scheduler__task_instance_heartbeat_timeout": "60",  # until a task whose worker was killed is retried
        "dag_processor__refresh_interval": "10",  # seconds until a new file of DAGs is seen
        # A parse that is cut short counts as one that found no DAG: on a busy machine all DAGs would be deactivated.
        "core__dagbag_import_timeout": "240",
        "dag_processor__dag_file_processor_timeout": "300",
        "dag_processor__stale_dag_threshold": "300",
        "core__fernet_key": stack.secrets["airflow_fernet"],
        "core__execution_api_server_url": f"{stack.url('airflow')}/execution/",
        "core__simple_auth_manager_users": f"{USER}:admin",
        "core__simple_auth_manager_passwords_file": str(_passwords(stack)),
        "api__base_url": stack.url("airflow"),
        "api__secret_key": stack.secrets["airflow_api"],
        "api_auth__jwt_secret": stack.secrets["airflow_jwt"],
        "database__sql_alchemy_conn": postgres.database_url(stack, "airflow"),
        "logging__base_log_folder": str(stack.logs / "airflow-tasks"),
        "logging__dag_processor_child_process_log_directory": str(stack.logs / "airflow-dags"),
    }
    variables = {f"AIRFLOW__{name.upper()}": value for name, value in settings.items()}
    return {"AIRFLOW_HOME": str(home), **variables, "AIRFLOW_CONN_RAY_DEFAULT": json.dumps(connection)}


def make_schema(stack: Stack) -> None:
    """Migrate the tables to the installed version, and write the password of the one user."""
    passwords = _passwords(stack)
    passwords.parent.mkdir(parents=True, exist_ok=True)
    passwords.parent.chmod(0o700)
    write_private(passwords, json.dumps({USER: password(stack)}))
    version = f"airflow {importlib.metadata.version('apache-airflow-core')}"
    if postgres.schema_is(stack, "airflow", version):
        return
    if subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=False).returncode != 0:
        raise ServiceError("`airflow db migrate` failed; its reason is above")
    postgres.set_schema(stack, "airflow", version)


def password(stack: Stack) -> str:
    """The password of the user `admin`, 16 characters, short enough to type."""
    return stack.secrets["airflow_password"][:16]


def _passwords(stack: Stack) -> Path:
    return stack.data / "airflow" / "passwords.json"


def _health(stack: Stack) -> dict[str, dict[str, str | None]]:
    return fetch_json(f"{stack.url('airflow')}/api/v2/monitor/health") or {}


def _heartbeat_check(stack: Stack, part: str) -> Callable[[float], bool]:
    """Ready is what has given a sign of life since its start, not by its predecessor's record in the database."""

    def has_beaten(since: float) -> bool:
        health = _health(stack).get(part) or {}
        beat = health.get(f"latest_{part}_heartbeat")
        return (
            health.get("status") == "healthy" and beat is not None and datetime.fromisoformat(beat).timestamp() > since
        )

    return has_beaten
