"""The whole stack: which services, in which order, and what a client of theirs has to know."""

import os
import shlex
import sys
from pathlib import Path

from headrace.components.errors import ServiceError
from headrace.pipelines.ray_cluster import loopback
from infra.stack import airflow_services, mlflow_server, postgres, ray_cluster, swift
from infra.stack.services import Service
from infra.stack.state import Stack, is_free, write_private

# Another installation's settings would be mixed into ours.
_FOREIGN = ("AIRFLOW", "AWS_", "MLFLOW_", "PG", "RAY_")


def services_of(stack: Stack) -> list[Service]:
    """Every service, each after those that it needs."""
    step = (sys.executable, "-m", "infra.stack", "step", "--folder", str(stack.folder))
    client = client_environment(stack)
    plain = {name: value for name, value in client.items() if not name.startswith("AIRFLOW")}
    return [
        *postgres.services(stack, step),
        *swift.services(stack, step),
        *mlflow_server.services(stack, step, plain),
        *ray_cluster.services(stack, step, plain),
        *airflow_services.services(stack, step, client),
    ]


def client_environment(stack: Stack) -> dict[str, str]:
    """The environment variables by which programs on this machine find every server of the stack."""
    return {
        **airflow_services.environment(stack, ray_address=stack.url("ray-dashboard")),
        "MLFLOW_TRACKING_URI": stack.url("mlflow"),
        "RAY_ADDRESS": stack.url("ray-dashboard"),
        **loopback.VARIABLES,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(stack.ray_token),
        "HEADRACE_STORAGE": f"s3://{swift.BUCKETS[0]}/headrace",
        "AWS_ENDPOINT_URL": stack.url("s3"),
        "AWS_ACCESS_KEY_ID": swift.ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": stack.secrets["s3_secret_key"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1", "localhost"])),
    }


def check_ports(stack: Stack) -> None:
    """Raise ServiceError if a port that was free when it was chosen is another program's now."""
    for name, port in stack.ports.items():
        if not is_free(port):
            raise ServiceError(
                f"port {port}, which is {name}'s, is taken by another program: end that one, or remove "
                f"{stack.folder / 'ports.json'} to have other ports chosen, which clients then have to learn"
            )


def write_environment(stack: Stack) -> None:
    """Write the client's variables as lines that a shell can read."""
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in client_environment(stack).items()]
    write_private(stack.environment, "# for a shell: . this file\n" + "".join(lines))


def base_environment() -> dict[str, str]:
    """The present environment without variables of other Airflows, Rays and so on; our programs are first in PATH."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    programs = str(Path(sys.executable).parent)
    return {**variables, "PATH": f"{programs}{os.pathsep}{variables.get('PATH', os.defpath)}"}
